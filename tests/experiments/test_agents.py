"""The resolver: names of agents, which look different in figures."""

from bridge.references.registry import REFERENCES
from bridge.report.figures import looks
from bridge.tasks import family as make_family
from experiments import agents
from experiments.registry import LEARNERS


def test_no_two_registered_methods_look_alike():
    found = {name: look for name, look in looks(agents.names()).items() if name in agents.names()}
    assert {*REFERENCES, *LEARNERS, "full_reward_rl2", "icl_then_lora_icl_rl"} <= found.keys()
    assert len({str(look) for look in found.values()}) == len(found)


def test_references_and_learned_methods_differ_without_their_dash():
    """The study of shots and gradient steps uses dashes for the weights that are tuned."""
    found = looks(agents.names())
    assert len({(found[name]["color"], found[name]["marker"]) for name in LEARNERS}) == len(
        LEARNERS
    )


def test_registered_names_win_over_ones_own(write):
    """Also over a module of that name, and over the prefix of the zoo."""
    for name in ("random", "zoo"):
        write(f"{name}.py", "made = 3\n")
    family = make_family("bandit")
    assert isinstance(agents.resolve("random", family), agents.Reference)
    assert agents.own_place("zoo:made") == agents.own_place("random:made") == ""
    assert isinstance(agents.resolve("random.py:made", family), agents.Own)
