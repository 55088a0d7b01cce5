"""The resolver: names of agents, which look different in figures."""

from bridge.references.registry import REFERENCES
from bridge.report.figures.looks import looks
from bridge.tasks import family as make_family
from experiments import agents, sources, specs
from experiments.registry import LEARNERS


def test_no_two_registered_methods_look_alike():
    found = looks(specs.names())
    known = {*REFERENCES, *LEARNERS, "full_reward_rl2", "icl_then_lora_icl_rl", "zoo:icl_rl"}
    assert known <= found.keys()
    assert len({str(look) for look in found.values()}) == len(found)


def test_learned_methods_differ_without_their_dash():
    """The study of shots and gradient steps uses dashes for the weights that are tuned."""
    found = looks(specs.names())
    others = {str(found[name] | {"linestyle": ""}) for name in LEARNERS}
    assert len(others) == len(LEARNERS)


def test_a_run_of_the_zoo_and_one_with_gradient_steps_have_the_colour_of_their_method():
    found = looks(specs.names())
    for name in ("zoo:icl_rl", "lora_reward_icl_rl", "lora_demos_icl_rl", "full_reward_icl_rl"):
        assert found[name]["color"] == found["icl_rl"]["color"]
        assert found[name]["marker"] == found["icl_rl"]["marker"]


def test_registered_names_win_over_ones_own(write):
    """Also over a module of that name, and over the prefix of the zoo."""
    for name in ("random", "zoo"):
        write(f"{name}.py", "from bridge.references.random import Random as made\n")
    family = make_family("bandit")
    assert isinstance(agents.resolve("random", family), sources.Reference)
    assert specs.own_place("zoo:made") == specs.own_place("random:made") == ""
    assert isinstance(agents.resolve("random.py:made", family), sources.Own)
