"""Trained runs with gradient steps at test, by name and from the command."""

import dataclasses
import json
from pathlib import Path

import pytest

from bridge.errors import UserError
from bridge.evaluation import results
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.references.registry import reference
from bridge.tasks import family as make_family
from bridge.test_time.agent import FineTuned
from experiments import agents, finetuned, registry
from experiments import runs as runs_of_methods
from llm_adapt import lora
from llm_adapt.finetuning import Config
from rl_algos.inner_loop import GradientAgent
from tests.experiments.commands import run
from tests.experiments.conftest import TRAINED, Runs

BANDIT, SPEC = make_family("bandit:k=3,n=8"), "bandit:k=3,n=8"


@pytest.fixture
def runs(trained) -> Runs:
    return trained


def test_the_name_says_what_is_tuned_and_by_what(runs):
    for name, tuner in (
        ("lora_reward", "BatchedLora"),
        ("head_demos", "PerTrialWeights"),
        ("full_reward", "PerTrialWeights"),
    ):
        agent = agents.load(f"{name}:run={runs['icl_rl']},inner_steps=3", BANDIT, "id")
        assert isinstance(agent, FineTuned)
        assert agent.card.method == f"{name}_icl_rl (icl_rl)"
        assert agent.card.adapts == "context, gradient"
        assert agent.signal == name.split("_")[1]
        assert type(agent.trial_weights).__name__ == tuner
        assert agent.config.inner_steps == 3
    assert isinstance(agents.load(f"full_reward:run={runs['rl2']}", BANDIT, "id"), FineTuned)


def test_a_trials_adapter_begins_where_a_familys_ended(runs, tmp_path):
    """Without a step it plays as the tuned folder does; a step more is taken from there."""
    settings = Config(steps=5, lr=0.05, batch=120, tasks=4, rank=2)
    finetuned.finetune(
        str(runs["icl_rl"]),
        SPEC,
        settings,
        tmp_path / "tuned",
        split="shift/reward_sign/4",
        demos="",
    )
    plan = Plan(split="shift/reward_sign/4", trials=200)
    base, family = (
        agents.load(str(place), BANDIT, "id") for place in (runs["icl_rl"], tmp_path / "tuned")
    )
    spec = f"lora_reward:run={runs['icl_rl']},adapter={tmp_path / 'tuned'},inner_every=4"
    still, moving = (agents.load(f"{spec},inner_steps={steps}", BANDIT, "id") for steps in (0, 3))
    pulled = [
        evaluate(agent, BANDIT, plan).detail["action"].tolist()
        for agent in (base, family, still, moving)
    ]
    assert pulled[0] != pulled[1] == pulled[2] != pulled[3]
    assert pulled[2][: 200 * 4] == pulled[3][: 200 * 4]
    assert moving.card.params_trained == 2 * 2 * (8 + 8)
    with pytest.raises(UserError, match="fixes rank, alpha and targets"):
        agents.load(f"{spec},rank=4", BANDIT, "id")
    other = (
        registry.LEARNERS["icl_rl"]
        .learner(BANDIT, runs_of_methods.settings(TRAINED["icl_rl"]), seed=1)
        .agent()
    )
    with pytest.raises(UserError, match="Load the adapter's own base"):
        lora.Config(adapter=str(tmp_path / "tuned")).trial_weights(other.policy)


def test_who_takes_gradient_steps_anyway_takes_more_of_them(runs):
    for steps in (1, 5):
        agent = agents.load(f"full_reward:run={runs['maml']},inner_steps={steps}", BANDIT, "id")
        assert isinstance(agent, GradientAgent)
        played = evaluate(agent, BANDIT, Plan(trials=6))
        assert played.cost["grad_steps"][-1] == steps * 3


def test_the_switch_tunes_what_goes_worse_than_usual_and_nothing_else(runs):
    """At home about one trial in twenty at most is below the threshold; with every reward negated all are."""
    agent = agents.load(
        f"icl_then_lora:run={runs['icl_rl']},inner_steps=2,inner_every=4", BANDIT, "id"
    )
    home, negated = (
        evaluate(agent, BANDIT, Plan(split=s, trials=200)) for s in ("id", "shift/reward_sign/4")
    )
    assert home.cost["grad_steps"][-1] < 0.2 * 2
    assert negated.cost["grad_steps"][-1] > 0.8 * 2


def test_demonstrations_are_cloned_on_track_c(runs):
    plan, oracle = Plan(trials=40, track="C", shots=4), reference("oracle", BANDIT, "id")
    spec = f"lora_demos:run={runs['icl_rl']},inner_steps=30,inner_lr=0.05"
    cloned, shown = (
        evaluate(agents.load(who, BANDIT, "id"), BANDIT, plan, behaviour=oracle)
        for who in (spec, str(runs["icl_rl"]))
    )
    assert cloned.mean("regret") < shown.mean("regret")
    assert cloned.cost["grad_steps"][-1] == 30


def test_the_command_plays_it_and_decodes_as_it_is_told(runs, capsys):
    spec = f"lora_reward:run={runs['icl_rl']},inner_steps=2"
    command = ("evaluate", spec, "--family", SPEC, "--trials", "40", "--json")
    out, _ = run(*command, capsys=capsys)
    assert '"method": "lora_reward_icl_rl (icl_rl)"' in out
    decoded, _ = run(*command, "--decode", "argmax", capsys=capsys)
    assert decoded != out
    agent = agents.load(spec, BANDIT, "id")
    assert isinstance(agent, FineTuned)
    agent.card = dataclasses.replace(agent.card, decode_rule="argmax")
    assert agent.agent.card.temperature == 0


def test_the_list_of_methods_names_them(capsys):
    out, _ = run("list", "methods", "--json", capsys=capsys)
    found = {entry["name"]: entry for entry in json.loads(out)}
    assert found["lora_demos"]["kind"] == "tuned"
    assert found["lora_demos"]["keys"]["rank"] == 8
    assert found["lora_reward_icl_dpt"]["kind"] == "learned"


@pytest.mark.parametrize(
    ("spec", "track", "said"),
    [
        (
            "lora_demos:run={icl_rl}",
            "O",
            "icl_rl clones demonstrations, which only track C shows",
        ),
        (
            "{cloner}",
            "F",
            "cloner clones demonstrations, which only track C shows",
        ),
        (
            "icl_then_lora:run={icl_rl}",
            "C",
            "icl_rl detects failure by its own play",
        ),
    ],
)
def test_a_signal_that_a_track_does_not_have_is_refused(runs, spec, track, said, capsys):
    given = ("evaluate", spec.format_map(runs), "--family", SPEC, "--trials", "8", "--track", track)
    _, err = run(*given, capsys=capsys, code=2)
    assert said in err


def test_check_and_compare_know_what_a_way_is(runs, capsys):
    spec = f"lora_reward:run={runs['icl_rl']},inner_steps=1,inner_every=2"
    out, _ = run("check", spec, "--family", SPEC, capsys=capsys)
    assert "keeps the contract" in out
    place = str(runs["icl_rl"] / "c")
    run(
        "compare",
        "--methods",
        spec,
        "--trials",
        "20",
        "--splits",
        "id",
        "--out",
        place,
        capsys=capsys,
    )
    assert {key[2:4] for key in results.done(Path(place))} == {(spec, 4)}
    given = ("compare", "--methods", "lora_demos_mt", "--tracks", "O", "--out", f"{place}2")
    _, err = run(*given, capsys=capsys, code=2)
    assert "clones demonstrations, which only track C shows" in err


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("full_reward:run={maml},inner_lr=0.1", "only inner_steps is for it. Leave inner_lr out"),
        ("lora_reward", "Name its folder: lora_reward:run=RUN"),
        ("lora_reward:run=nowhere", "nowhere"),
        (
            "lora_reward:run={rl2}",
            "is no transformer, and adapters are for these. Take full_reward",
        ),
        ("head_reward:run={rl2}", "no module 'actor' to tune"),
        ("full_reward:run={mtrl}", "cannot be tuned so. Take a run of rl2, pearl or icl_"),
        (
            "lora_reward:run={icl_rl},targets=query",
            "no module 'query' to adapt in this backbone. There are: down_proj",
        ),
        ("lora_reward:run={icl_rl},rank=9", "Choose one from 1 to 8"),
        ("lora_reward:run={icl_rl},rnk=2", "rnk"),
        ("icl_then_lora:run={icl_rl},quantile=2", "quantile"),
    ],
)
def test_what_cannot_be_tuned_is_refused(runs, spec, said):
    with pytest.raises(UserError) as refusal:
        agents.load(spec.format_map(runs), BANDIT, "id")
    assert said in str(refusal.value)


def test_a_run_hands_over_to_a_rule_or_to_gradient_steps(runs):
    to_rule = agents.load(f"handover:to=ucb1,run={runs['rl2']}", BANDIT, "id")
    assert to_rule.card.method == "handover_rl2 (rl2)"
    assert to_rule.card.adapts == "context"
    assert to_rule.shots == 4
    source = agents.resolve(f"handover:to=lora_reward,shots=3,run={runs['icl_rl']}", BANDIT)
    agent = source.load("id")
    assert isinstance(agent.second, FineTuned)
    assert agent.card.adapts == "context, gradient"
    assert agent.shots == 3
    assert source.takes_steps
    assert source.steps_every(BANDIT.trial("id")) == 2
    assert not agents.resolve(f"handover:to=ucb1,run={runs['rl2']}", BANDIT).takes_steps


def test_who_takes_over_plays_the_split_as_it_would_alone(runs):
    """The exact learner of a split knows its distribution."""
    source = agents.resolve(f"handover:to=bayes,run={runs['rl2']}", BANDIT)
    known = agents.load("bayes", BANDIT, "shift/reward_sign/4").card
    assert source.load("shift/reward_sign/4").second.card == known
    assert not source.plays_split("shift/changes/4")
    assert source.plays_split("shift/reward_sign/4")


@pytest.mark.parametrize(
    ("second", "track", "message"),
    [("lora_demos", "F", "clones demonstrations"), ("icl_then_lora", "C", "detects failure")],
)
def test_who_takes_over_has_to_learn_from_the_track(runs, second, track, message):
    source = agents.resolve(f"handover:to={second},run={runs['icl_rl']}", BANDIT)
    with pytest.raises(UserError, match=message):
        source.check_track(track)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("handover:run={rl2}", "handover needs another agent"),
        ("handover:to=oracle,run={rl2}", "oracle is given the task"),
        ("handover:to=nobody,run={rl2}", "nobody"),
        ("handover:to=lora_reward,run={rl2}", "no transformer"),
        ("handover:to=ucb1", "handover needs a trained run"),
    ],
)
def test_a_handover_that_makes_no_sense_is_refused(runs, spec, message):
    with pytest.raises(UserError, match=message):
        agents.load(spec.format(rl2=runs["rl2"]), BANDIT, "id")
