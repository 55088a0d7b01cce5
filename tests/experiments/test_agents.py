"""The resolver: names of agents, which look different in figures, and agents of a user's own."""

import pytest

from bridge.errors import UserError
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


OWN = """
from bridge.protocol import Card, Decision


class Mine:
    card = Card(method="random")

    def __init__(self, *given, **more):
        self.given = (*given, *more.values())

    def start(self, clues, trial, rng):
        return rng.at("start").uniform()

    def begin(self, memory, rng, *, episode):
        return memory

    def act(self, memory, obs, rng, *, explore):
        return Decision(rng.integers(3))

    def observe(self, memory, step, carry=None):
        return memory

    def adapt(self, memory, rng, *, episode, last):
        return memory


class Told(Mine):
    def __init__(self, family, c=0.5, greedy=False, *, name="x"):
        super().__init__(family.id, c, greedy, name)


class Both(Mine):
    def __init__(self, family, split="train"):
        super().__init__(family.id, split)


class Alone(Mine):
    def __init__(self, c=1):
        super().__init__(c)


def make(family, split):
    return Mine(family.id, split)


def alone():
    return Mine("made")


def three(a, b, c):
    pass


def fails(family):
    return {}[family]


class Half:
    card = "mine"


class Cardless(Mine):
    card = "mine"


made = Mine("here")
"""
BANDIT = "bandit:k=3,n=4"


@pytest.fixture
def own(write):
    return write("own.py", OWN)


@pytest.mark.parametrize(
    ("spec", "given"),
    [
        ("own.py:Mine", ()),
        ("own.py:Told", (BANDIT, 0.5, False, "x")),
        ("own.py:Told:c=2,greedy=true,name=y", (BANDIT, 2.0, True, "y")),
        ("own.py:Both", (BANDIT, "id")),
        ("own.py:Alone:c=3", (3,)),
        ("own.py:make", (BANDIT, "id")),
        ("own.py:alone", ("made",)),
        ("own.py:made", ("here",)),
        ("own:made", ("here",)),
    ],
)
def test_an_agent_of_ones_own_is_made_as_its_signature_asks(own, spec, given):
    agent = agents.load(spec, make_family(BANDIT), "id")
    assert agent.given == given
    assert agent.card.method == spec  # never the name of a reference


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("own.py:three", r"own.py:three cannot be made: TypeError: it takes \(a, b, c\); expected \(fam"),
        ("own.py:fails", "own.py:fails cannot be made: own.py, line 55: KeyError"),
        ("own.py:Half", "neither a TaskFamily nor an agent, .* it has no start, begin, act, obs"),
        ("own.py:Cardless", "The card of own.py:Cardless is 'mine'. Give it one: card = Card"),
        ("own.py:Told:d=2", "Unknown key in 'own.py:Told:d=2': 'd'. .*Known: c, greedy, name"),
        ("own.py:Told:c=x", "c in 'own.py:Told:c=x' must be a number, found 'x'"),
        ("own.py:Tld", "Unknown name in own.py: 'Tld'. Did you mean 'Told'"),
        ("family.py:Two", "family.py:Two is a family, and an agent is asked for. Give --family fa"),
    ],
)
def test_what_is_no_agent_is_refused_with_a_remedy(own, write, spec, said):
    write(
        "family.py", "from bridge.tasks.bandit import Bandit\nclass Two(Bandit):\n  name = 'two'\n"
    )
    with pytest.raises(UserError, match=said):
        agents.load(spec, make_family(BANDIT), "id")


def test_registered_names_win_over_ones_own(write):
    """Also over a module of that name, and over the prefix of the zoo."""
    for name in ("random", "zoo"):
        write(f"{name}.py", OWN)
    family = make_family(BANDIT)
    assert isinstance(agents.resolve("random", family), agents.Reference)
    assert agents.own_place("zoo:made") == agents.own_place("random:made") == ""
    assert agents.load("random.py:made", family, "id").given == ("here",)
