"""The conformance kit over everything registered, and that everything is registered.

The fast suite tries every method where it is cheapest; the slow one every method on every family.
"""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import bridge.references
import bridge.tasks
from bridge.conformance import AGENT_CHECKS, FAMILY_CHECKS
from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.references.base import Reference
from bridge.references.registry import REFERENCES
from bridge.tasks import FAMILIES
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from bridge.test_time.agent import FineTuned, continue_training
from experiments import agents, registry, runs
from llm_adapt.in_context import InContext
from llm_adapt.prompted import Prompted
from rl_algos.inner_loop import GradientAgent

GYM = "gym:vary=length=0.4..0.8,shift=length=0.8..1.6,episodes=2,steps=6"
SMALL = {
    "bandit": "bandit:k=3,n=6",
    "contextual_bandit": "contextual_bandit",
    "tabular_mdp": "tabular_mdp:n=2",
    "darkroom": "darkroom:episodes=2",
    "gridnavi": "gridnavi",
    "point_nav": "point_nav:episodes=3",
    "sparse_point": "sparse_point:episodes=3",
    "minigrid": "minigrid:steps=20",
    "metaworld": "metaworld:steps=10",
    "cheetah_vel": "cheetah_vel:steps=10",
    "ant_dir": "ant_dir:steps=10",
    "gym": GYM,
}
VARIANTS = (
    "bandit:k=3,n=6",
    "bandit:k=3,n=5,arms=gaussian",
    "bandit:k=2,n=5,arms=dependent_uniform",
    "bandit:k=2,n=5,arms=dependent_hard",
    "bandit:k=3,n=5,arms=one_best_easy",
    "contextual_bandit",
    "contextual_bandit:opposed=0.5,decades=2,tasks=6",
    "tabular_mdp:n=2",
    "gridnavi",
    "gridnavi:train=inner",
    "darkroom:episodes=2",
    "darkroom:episodes=2,train=inner",
    "darkroom:episodes=2,train=hole",
    "darkroom:episodes=2,variant=ad",
    "darkroom:episodes=2,variant=ad,train=hole",
    "bandit:k=3,n=6,tasks=4",
    "gridnavi:tasks=5",
    "point_nav:episodes=3",
    "point_nav:episodes=3,variant=paper,train=hole",
    "point_nav:episodes=3,variant=code,tasks=4",
    "sparse_point:episodes=3",
    "sparse_point:episodes=3,variant=dense",
    "sparse_point:episodes=3,tasks=5",
    "minigrid:steps=20",
    "minigrid:suite=mt5,steps=20,tasks=4",
    "metaworld:steps=10,tasks=4",
    "metaworld:suite=ml10,steps=10,wide=environment",
    "metaworld:suite=mt10,steps=10",
    "cheetah_vel:steps=10,tasks=4",
    "cheetah_dir:steps=10",
    "ant_dir:steps=10,train=four",
    "ant_goal:steps=10,wide=mass",
    "walker_params:steps=10",
    GYM,
)
PLAYED = {
    (method, spec): agents.resolve(method, make_family(spec)).constructor
    for spec in (
        *SMALL,
        "bandit:k=3,n=5,arms=gaussian",
        "bandit:k=2,n=5,arms=dependent_easy",
        "bandit:k=3,n=5,arms=one_best_hard",
    )
    for method in REFERENCES
    if agents.plays(method, make_family(spec))
}
"""The constructor of each reference on each family that it plays."""
SMALLEST = {make: case for case, make in reversed(PLAYED.items())}.values()
"""The first family of each constructor."""


def in_slow(*case: str):
    return pytest.param(*case, marks=pytest.mark.slow)


def fast_and_slow(fast, every):
    """All cases for ``parametrize``; those that are not in ``fast`` are for the slow suite."""
    return [*fast, *(in_slow(*case) for case in every if case not in fast)]


@pytest.mark.slow  # tests/bridge/conformance tries the default of each in the fast suite
@pytest.mark.parametrize("spec", VARIANTS)
def test_families_keep_the_contract(spec):
    for check in FAMILY_CHECKS.values():
        check(make_family(spec))


@pytest.mark.parametrize(("method", "spec"), fast_and_slow(SMALLEST, PLAYED))
def test_agents_keep_the_contract(method, spec):
    family = make_family(spec)
    agent = agents.load(method, family, "id")
    for check in AGENT_CHECKS.values():
        check(agent, family)


@pytest.mark.parametrize(
    ("method", "spec", "split"),
    [
        ("bayes", "gridnavi", "shift/action_permutation/3"),
        ("bayes", "gridnavi", "shift/reward_sign/2"),
        ("bayes", "gridnavi:train=inner", "shift/goal_shell/2"),
        ("bayes_train", "darkroom:episodes=2,train=hole", "shift/hole/3"),
        ("bayes", "bandit:k=3,n=6", "shift/reward_sign/2"),
        ("bayes", "bandit:k=3,n=40", "shift/horizon/2"),
        ("bayes_train", "bandit:k=3,n=6", "shift/horizon/4"),
        ("oracle", "gridnavi", "shift/slip/4"),
        ("oracle", "tabular_mdp:n=2", "shift/reward_sign/4"),
        ("oracle", "point_nav:episodes=3", "shift/wind/3"),
        ("oracle", "sparse_point:episodes=3", "shift/action_turn/4"),
        in_slow("psrl", "point_nav:episodes=3,variant=paper,train=hole", "shift/ring/4"),
        in_slow("psrl", "sparse_point:episodes=3", "shift/goal_radius/4"),
    ],
)
def test_agents_keep_the_contract_under_shift(method, spec, split):
    family = make_family(spec)
    agent = agents.load(method, family, split)
    for check in AGENT_CHECKS.values():
        check(agent, family, split)


LEARNED = {
    "lora_maml": "hidden=8,layers=1,heads=2,window=32,steps_per_update=400,minibatches=1,epochs=1,rank=2,inner_every=2,"
    "tasks_per_update=2,meta_epochs=1,inner_stages=1,pretraining=0.5",
    "maml": "hidden=8,tasks_per_update=2,inner_steps=1,epochs=1,episodes_per_step=2",
    "mtrl": "hidden=8,tasks_per_update=2,episodes_per_task=2,epochs=1",
    "mtrl_sequence": "hidden=8,tasks_per_update=2,episodes_per_task=2,epochs=1",
    "mtrl_sac": "hidden=8,tasks_per_update=2,episodes_per_task=2,meta_batch=2,batch=4,steps_per_grad=100,train_tasks=4",
    "icl_ad": "hidden=8,layers=1,heads=2,window=32,steps_per_update=400,batch=512,passes=1",
    "icl_dpt": "hidden=8,layers=1,heads=2,window=32,steps_per_update=400,batch=512,passes=1",
    "icl_rl": "hidden=8,layers=1,heads=2,window=32,steps_per_update=400,minibatches=1,epochs=1",
    "mtrl_finetune": "hidden=8,tasks_per_update=2,episodes_per_task=2,epochs=1,episodes_per_step=2",
    "pearl": "hidden=8,encoder_hidden=8,latent=2,train_tasks=4,collect_tasks=2,episodes=2,scout_episodes=1,"
    "steps_per_grad=100,meta_batch=2,contexts=2,batch=4",
    "mt": "hidden=8,layers=1,heads=2,window=32,steps_per_update=400,minibatches=1,epochs=1",
    "prompted_lora_ad": "model={model},format=terse,rank=2,steps_per_update=40,batch=20",
    "rl2": "hidden=8,steps_per_update=400,minibatches=1,epochs=1",
}
LEARNED |= {
    f"lora_{signal}_{base}": f"{LEARNED[base]},rank=2,inner_steps=2{',inner_every=2' if signal == 'reward' else ''}"
    for signal in ("reward", "demos")
    for base in ("icl_rl", "icl_ad", "icl_dpt", "mt")
}
"""Every learned method as small as it trains; it adapts after every second episode. ``{model}`` is a tiny language
model's folder."""
PACKAGED = ["prompted_smollm2_lora_ad"]
"""Methods that others here are the same as, with a model that has to be installed."""
LEARNED_ON = (
    "bandit:k=3,n=6",
    "contextual_bandit",
    "tabular_mdp:n=3",
    "darkroom:variant=ad,episodes=3",
    "gridnavi",
    "point_nav:episodes=3",
    "sparse_point:episodes=3",
    "minigrid:steps=20",
    "metaworld:steps=10",
    "cheetah_vel:steps=10",
    "ant_dir:steps=10",
    GYM,
)
SAME_SIMULATOR = {"cheetah_dir", "ant_goal", "walker_params"}
"""Families that differ from one of those in what their tasks are and what is paid alone."""


ALIKE = [name for name, method in registry.LEARNERS.items() if method.base]
"""One agent and one learner for all; each is tried on one family, and in the fast suite one for each signal."""
FEW = [name for name in LEARNED if name not in ALIKE] + ["lora_reward_icl_rl", "lora_demos_icl_dpt"]
"""Every learner."""

TRAINED = [
    (method, spec)
    for method in LEARNED
    for spec in (
        LEARNED_ON[:1] if method in ALIKE and method != "lora_reward_icl_rl" else LEARNED_ON
    )
    if (method not in ("icl_ad", "icl_dpt") or spec not in LEARNED_ON[7:])  # nobody to imitate
    and (method != "prompted_lora_ad" or make_family(spec).describe() is not None)
]
CHEAPEST = [
    *((method, LEARNED_ON[0]) for method in FEW),
    *(("mt", spec) for spec in LEARNED_ON[1:4]),
    *(("mtrl", spec) for spec in LEARNED_ON[4:6]),
    ("icl_ad", LEARNED_ON[6]),
    *(("mtrl", spec) for spec in LEARNED_ON[7:]),
]
"""Every learner on a bandit, and every other family once."""

LONG = ("gridnavi", "point_nav:episodes=3", "minigrid:steps=20", "metaworld:steps=10")
"""Trials that take long, on which each agent is checked where its method is tested."""


def test_every_learned_method_and_family_is_tried_here():
    assert {method for method, _ in TRAINED} == set(LEARNED)
    of_tests = {name for name, method in registry.LEARNERS.items() if method.of_test_tasks}
    assert {*LEARNED, *PACKAGED} == set(registry.LEARNERS) - of_tests
    assert {registry.LEARNERS[method].learner_name for method, _ in CHEAPEST} == {
        method.learner_name for method in registry.LEARNERS.values() if not method.of_test_tasks
    }
    assert {spec for _, spec in CHEAPEST} == set(LEARNED_ON)
    assert {spec.partition(":")[0] for spec in LEARNED_ON} == set(FAMILIES) - SAME_SIMULATOR


@pytest.mark.parametrize(("method", "spec"), fast_and_slow(CHEAPEST, TRAINED))
def test_learned_methods_train_play_and_keep_the_contract(method, spec, tiny_model):
    """Two updates; then trials as long as in training and longer ones, with finite returns and, where an agent learns
    by gradient, steps that were taken."""
    family = make_family(spec)
    settings = runs.settings(f"{method}:{LEARNED[method].format(model=tiny_model)}")
    learner = registry.LEARNERS[method].learner(family, settings, seed=0)
    for spent in (0.0, 0.5):
        assert np.isfinite(list(learner.update(spent).values())).all()
    agent = learner.agent()
    for split in {"id", "shift/horizon/2"}.intersection(family.splits):
        played = evaluate(agent, family, Plan(split=split, trials=4))
        metrics = ("trial_return", "regret") if family.solved else ("trial_return",)
        assert np.isfinite([played.mean(metric) for metric in metrics]).all()
        tuned = isinstance(agent, GradientAgent) or (
            isinstance(agent, FineTuned) and agent.signal == "reward"
        )
        if family.name not in ("minigrid", "gym"):  # which pay all actions alike in so few steps
            assert (played.cost["grad_steps"][-1] > 0) == tuned
    if isinstance(agent, GradientAgent):
        agent.double()  # gradient steps enlarge rounding errors
    once = isinstance(
        agent, InContext | FineTuned | Prompted
    )  # a class for many methods: its own tests check its contract
    for check in () if spec in LONG or once else AGENT_CHECKS.values():
        check(agent, family)


def everything_in(package, kind: type) -> set[type]:
    """The concrete subclasses of ``kind`` that a package's modules define for use."""
    found = set()
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        found |= {
            thing
            for name, thing in vars(module).items()
            if inspect.isclass(thing)
            and issubclass(thing, kind)
            and thing.__module__ == info.name
            and name[0] != "_"
        }
    return {thing for thing in found if not inspect.isabstract(thing) and thing is not kind}


def test_every_family_is_registered():
    assert everything_in(bridge.tasks, TaskFamily) == set(FAMILIES.values())


def test_every_reference_can_be_had_by_name():
    """Each concrete reference is what some registered name makes, on some family and split, or the base of one."""
    made: set[type] = set()
    for spec in [*VARIANTS, "bandit:k=5,n=100"]:
        family = make_family(spec)
        for method in REFERENCES:
            if agents.plays(method, family):
                for split in ("id", "shift/action_permutation/2", "shift/reward_sign/2"):
                    if split in family.splits:
                        made |= set(type(agents.load(method, family, split)).__mro__)
    assert everything_in(bridge.references, Reference) <= made


@pytest.mark.parametrize(
    "method", [*FEW, *(in_slow(method) for method in LEARNED if method not in FEW)]
)
def test_training_is_continued_for_every_learned_method_but_those_that_are_told_their_task(
    method, tiny_model
):
    """``lora_demos_*`` take their steps on what is shown, on track C; the others on their own play."""
    family = make_family(SMALL["bandit"])
    settings = runs.settings(f"{method}:{LEARNED[method].format(model=tiny_model)}")
    agent = registry.LEARNERS[method].learner(family, settings, seed=0).agent()
    if method in ("mtrl", "mtrl_sac", "mtrl_sequence"):
        with pytest.raises(UserError, match="no network that could be trained on"):
            continue_training(agent, 2)
        return
    tuned = continue_training(agent, 2)
    plan = Plan(trials=4, track="C" if method.startswith("lora_demos") else "F", shots=2)
    played = evaluate(tuned, family, plan, behaviour=agents.load("oracle", family, "id"))
    assert played.cost["grad_steps"][0] == 0
    assert played.cost["grad_steps"][-1] + played.cost["refused_steps"][-1] >= 2
