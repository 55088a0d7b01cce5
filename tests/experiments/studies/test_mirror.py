"""The mirror study: similarities with known answers, and the whole of it."""

import csv
import re

import numpy as np
import pytest

from bridge.similarity.divergences import jensen_shannon
from experiments.studies.histories import Histories, Responses, Size
from experiments.studies.mirror.likeness import MEASURES, UNDECIDED, Likeness, Quartet
from experiments.studies.mirror.numbers import numbers
from experiments.studies.mirror.study import Study
from experiments.studies.players import Player
from tests.experiments.commands import run

RNG = np.random.default_rng(0)
SEEDS, SHOTS, TRIALS, ACTIONS, WIDTH = 3, (0, 1, 4), 60, 4, 6
LORA = "lora_reward:run=icl_rl"


def responses(policy=None, state=None, regret=None, seeds=SEEDS) -> Responses:
    """What a made-up method would do; noise if nothing is given."""
    size = (seeds, len(SHOTS), TRIALS)
    if policy is None:
        policy = RNG.dirichlet(np.ones(ACTIONS), size=(*size, 1))
    if state is None:
        state = RNG.normal(size=(*size, WIDTH))
    if regret is None:
        regret = RNG.random(size)
    return Responses(SHOTS, regret, policy, regret, np.ones((len(SHOTS), TRIALS)), state)


def alike(one: Responses) -> Responses:
    """Another method that does the same, in another basis of states."""
    assert one.state is not None
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(WIDTH, WIDTH)))
    return one._replace(state=2 * one.state @ turn)


def shuffled(one: Responses) -> Responses:
    """The same, on the histories of other trials."""
    assert one.state is not None
    order = RNG.permutation(TRIALS)
    policy, regret = one.policy[:, :, order], one.regret[:, :, order]
    return Responses(SHOTS, regret, policy, regret, one.optimum, one.state[:, :, order])


def same_seeds(noise: float = 0.0) -> Responses:
    """Seeds that respond alike, but for some noise."""
    one, other = responses(seeds=1), responses()
    assert one.state is not None
    assert other.state is not None
    policy, regret, state = (
        (1 - noise) * mine + noise * theirs
        for mine, theirs in (
            (one.policy, other.policy),
            (one.regret, other.regret),
            (one.state, other.state),
        )
    )
    return Responses(SHOTS, regret, policy, regret, one.optimum, state)


@pytest.mark.parametrize("measure", MEASURES)
def test_the_same_behaviour_is_the_ceiling_and_shuffled_pairs_are_the_floor(measure):
    one = same_seeds()
    here = Likeness({"a": one, "b": alike(one), "c": shuffled(one)})
    top = here.interval(measure, (1.0, ("a", "b")))
    assert top.mean == pytest.approx(1, abs=0.02)
    floor = here.interval(measure, (1.0, ("a", "c")))
    expected = {"policies": 0.75, "simulation": -0.3}.get(measure, 0.0)
    assert floor.mean == pytest.approx(expected, abs=0.3)
    assert floor.mean < top.mean - 0.15


def test_other_seeds_of_a_method_are_not_compared_with_themselves():
    here = Likeness({"a": responses()})
    policy = here.responses["a"].policy[:, 1:]
    by_hand = 1 - jensen_shannon(policy[:, None], policy[None])
    expected = by_hand[~np.eye(SEEDS, dtype=bool)].mean()
    assert here.interval("policies", (1.0, ("a", "a"))).mean == pytest.approx(expected)


def test_runs_that_share_weights_are_not_compared():
    """The adapters of seed i are on the run of seed i, and resampled with it."""
    base = responses()
    here = Likeness({"icl_rl": base, LORA: base})
    one, other = (here.interval("policies", (1.0, ("icl_rl", name))) for name in ("icl_rl", LORA))
    assert one.mean == pytest.approx(other.mean)
    assert one.half == pytest.approx(other.half)
    nothing = here.interval("policies", (1.0, ("icl_rl", "icl_rl")), (-1.0, ("icl_rl", LORA)))
    assert nothing.mean == pytest.approx(0)
    assert np.isnan(nothing.half)  # the same in every resample


def test_only_undecided_histories_count():
    """Decided ones, on which all agree, are no evidence; neither are ties, nor a history without shots."""
    exact = responses(seeds=1)
    lead = np.array([0.5, 0.05, 0.0])[RNG.integers(3, size=(1, len(SHOTS), TRIALS))]
    state = np.stack([0.4 + lead, np.full_like(lead, 0.4), np.zeros_like(lead)], -1)
    exact = exact._replace(state=state)
    here = Likeness({"bayes": exact, "a": responses()})
    close = (lead > UNDECIDED[0]) & (lead < UNDECIDED[1])
    close[:, 0] = False
    np.testing.assert_array_equal(here.histories[..., 0], close[0])
    assert 0 < here.histories.sum() < here.histories.size / 2


def test_m_is_above_zero_if_the_mirror_holds_and_below_if_it_is_crossed():
    one, other = same_seeds(0.1), same_seeds(0.1)
    quartet = Quartet("icl_rl", "rl2", LORA, "maml")
    holds = numbers({"icl_rl": one, "rl2": alike(one), LORA: other, "maml": alike(other)})
    crossed = numbers({"icl_rl": one, "rl2": other, LORA: alike(other), "maml": alike(one)})
    assert holds.quartets == (quartet,)
    for measure in MEASURES:
        for name in ("M", "to rl2", "to maml"):
            assert holds.headlines[measure, quartet, name].low > 0
            assert crossed.headlines[measure, quartet, name].high < 0
        halves = sum(
            holds.headlines[measure, quartet, f"to {name}"].mean for name in ("rl2", "maml")
        )
        assert holds.headlines[measure, quartet, "M"].mean == pytest.approx(halves)
        pairs = [holds.of(measure, pair) for pair in (*quartet.alike, *quartet.unlike)]
        total = sum(sign * pair.mean for sign, pair in zip((1, 1, -1, -1), pairs, strict=True))
        assert holds.headlines[measure, quartet, "M"].mean == pytest.approx(total)


def test_the_effect_of_order_is_of_the_signs_that_were_kept():
    moved = np.broadcast_to(np.array([0.0, 0.1, 0.4])[None, :, None], (SEEDS, len(SHOTS), TRIALS))
    found = numbers({"a": responses()._replace(signs={"order": moved}), "b": responses()})
    assert set(found.orders) == {"a"}
    assert found.orders["a"].mean == pytest.approx(0.4)


def test_a_quartet_without_one_of_its_methods_has_no_headline():
    found = numbers({"icl_rl": responses(), "rl2": responses()})
    assert found.quartets == ()
    assert found.of("policies", ("rl2", "icl_rl")) == found.of("policies", ("icl_rl", "rl2"))
    assert found.of("policies", ("rl2", "maml")) is None


def test_states_are_compared_after_the_same_shots():
    """A method whose state is still the same in all trials after one shot: no pair is compared there."""
    late = responses()
    assert late.state is not None
    late.state[:, :2] = 0.5
    still = responses()._replace(state=np.ones((SEEDS, len(SHOTS), TRIALS, 2)))
    here = Likeness({"a": responses(), "b": late, "c": still})
    assert {name: [len(seed) for seed in found] for name, found in here.states.items()} == {
        "a": [1] * SEEDS,
        "b": [1] * SEEDS,
        "c": [],
    }
    assert np.isnan(here.interval("states", (1.0, ("a", "c"))).mean)


@pytest.mark.slow
@pytest.mark.usefixtures("rendered")
def test_the_study_plays_and_prints_everything(tmp_path, monkeypatch, capsys):
    few = [Player(name) for name in ("rl2", "pearl", "maml", "icl_rl")]
    monkeypatch.setattr(Histories, "methods", property(lambda self: few))
    monkeypatch.setitem(Study.sizes, "smoke", Size((0, 1, 2), 16))
    out = tmp_path / "out"
    arguments = ("mirror", "--size", "smoke", "--axes", "prior", "--out", str(out))
    printed, _ = run(*arguments, capsys=capsys)
    assert "**M: how much more alike" in printed
    assert re.search(r"\| shift/prior/4 \| M \| \d+ \|", printed)
    order = printed.split("reverse order")[1]
    assert "| pearl | 0.0000 ±0.0000 |" in order
    assert "| rl2 | 0.0000" not in order
    with (out / "mirror.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["measure"] for row in rows} == {*MEASURES, "order"}
    assert {row["one"] for row in rows} >= {"M", "rl2", LORA, "random", "bayes_train"}
    assert (out / "figures" / "mirror.svg").exists()
    before = {path: path.stat().st_mtime_ns for path in (out / "mirror" / "policies").iterdir()}
    assert run(*arguments, capsys=capsys)[0] == printed
    assert {
        path: path.stat().st_mtime_ns for path in (out / "mirror" / "policies").iterdir()
    } == before
