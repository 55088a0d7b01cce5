"""Would it have known? Scores of signals on made-up methods, and the whole study."""

import csv

import numpy as np
import pytest

from bridge.errors import UserError
from experiments.studies.detection import study
from experiments.studies.detection.scores import OnSplit, scored
from experiments.studies.histories import Histories, Responses, Size
from experiments.studies.players import Player
from tests.experiments.commands import run

RNG = np.random.default_rng(0)
SHOTS, TRIALS = (0, 1, 2, 4), 400


def responses(seeds=3, *, broken=0.0, foreseen=0.0, regret=0.2) -> Responses:
    """A method of which a share of trials is ``broken``: regret 1. Their early shots earn ``foreseen`` less."""
    bad = RNG.random((seeds, TRIALS)) < broken
    size = (seeds, len(SHOTS), TRIALS)
    earned = np.array(SHOTS)[None, :, None] + RNG.normal(size=size) - foreseen * bad[:, None]
    late = np.where(bad, 1.0, regret)[:, None].repeat(len(SHOTS), 1)
    policy = np.full((*size, 1, 2), 0.5)
    return Responses(SHOTS, earned, policy, late, np.ones(size[1:]), RNG.normal(size=(*size, 3)))


FLOOR = responses(1, broken=1.0)
FOLD = np.arange(TRIALS) % 2 == 0


def of(method, fallback, of_steps=False, floors=(FLOOR, FLOOR)):
    """The scores of a method on ``id``, where it does well, and on one level, which is given."""
    splits = [
        OnSplit(each, fallback, floor)
        for each, floor in zip((responses(), method), floors, strict=True)
    ]
    return scored(responses(), FOLD, splits, shots=2, of_steps=of_steps)


def test_a_failure_that_is_foreseen_is_found_and_the_switch_gains():
    found = of(responses(broken=0.8, foreseen=30.0), responses(regret=0.4))
    assert found.shots == 2
    assert found.failures.mean == pytest.approx(0.4, abs=0.03)
    known = found.signals["low return"]
    assert known.auroc.mean > 0.99
    assert known.within.mean > 0.99
    assert known.gain.low > 0.1
    assert known.lack.mean == pytest.approx(
        found.best.mean - max(found.never.mean, found.always.mean) - known.gain.mean, abs=1e-6
    )
    assert found.best.mean == pytest.approx(1 - (0.6 * 0.2 + 0.4 * 0.4), abs=0.02)
    assert found.never.mean == pytest.approx(1 - (0.6 * 0.2 + 0.4 * 1.0), abs=0.02)
    assert found.always.mean == pytest.approx(0.6)
    assert (
        found.hindsight.mean == 1
    )  # the regret of a broken trial is as large after its first shots
    assert known.curve[0] < known.curve[-1]
    assert known.curve[-1] == pytest.approx(1 - found.never.mean)


def test_a_failure_that_leaves_no_sign_is_not_found():
    found = of(responses(broken=0.8), responses(regret=0.4))
    for signal in found.signals.values():
        assert abs(signal.auroc.mean - 0.5) < 0.06
        assert signal.gain.mean < 0.02


def test_a_signal_that_knows_the_shift_alone_foretells_nothing_within_a_split():
    """All trials of the level earn less, and four of five of them fail."""
    method = responses(broken=0.8)
    found = of(method._replace(earned=method.earned - 30), responses(regret=0.4))
    known = found.signals["low return"]
    assert known.auroc.mean > 0.8
    assert abs(known.within.mean - 0.5) < 0.06


def test_scores_are_in_units_of_each_split():
    """Ten times the rewards on one split are no more of its score."""
    method, fallback = responses(broken=0.8, foreseen=30.0), responses(regret=0.4)
    here = of(method, fallback)

    def tenfold(one):
        return one._replace(regret=10 * one.regret)

    splits = [
        OnSplit(responses(), fallback, FLOOR),
        OnSplit(*map(tenfold, (method, fallback, FLOOR))),
    ]
    there = scored(responses(), FOLD, splits, shots=2, of_steps=False)
    assert there.failures.mean == pytest.approx(here.failures.mean)
    assert there.never.mean == pytest.approx(here.never.mean)
    assert there.signals["low return"].gain.mean == pytest.approx(
        here.signals["low return"].gain.mean, abs=0.01
    )


def test_a_lead_is_over_low_returns_seed_by_seed():
    found = of(responses(broken=0.8, foreseen=2.0), responses(regret=0.4))
    cheap, entropy = found.signals["low return"], found.signals["entropy"]
    assert cheap.lead.mean == 0
    assert entropy.lead.mean == pytest.approx(entropy.auroc.mean - cheap.auroc.mean)
    assert entropy.lead.high < 0


def test_a_method_without_failures_has_no_auroc_and_a_switch_costs_its_false_alarms():
    found = of(responses(), responses(regret=0.5))
    assert found.failures.mean == 0
    known = found.signals["low return"]
    assert np.isnan(known.auroc.mean)
    assert known.gain.mean == pytest.approx(-0.05 * 0.3, abs=0.01)


def test_a_seed_without_failures_is_left_out_of_auroc():
    broken, fine = responses(broken=0.8, foreseen=30.0), responses()
    regret = np.concatenate([broken.regret[:2], fine.regret[2:]])
    found = of(broken._replace(regret=regret), responses(regret=0.4)).signals["low return"].auroc
    assert found.n == 2
    assert found.mean > 0.99


def test_signals_are_those_that_the_method_has():
    method, fallback = responses(), responses()
    assert "step size" not in of(method, fallback).signals
    assert "step size" in of(method, fallback, of_steps=True).signals
    blind = method._replace(state=None)
    splits = [OnSplit(blind, fallback, FLOOR)]
    found = scored(blind, FOLD, splits, shots=2, of_steps=True)
    assert set(found.signals) == {"low return", "entropy"}


def histories(out, **given):
    about = {
        "family": "bandit",
        "axes": ("reward_sign",),
        "behaviour": "random",
        "study": "detection",
    }
    return Histories(**about | {"size": Size((0, 1), 40), "levels": (4,), "out": out} | given)


def test_fallbacks_are_gradient_steps_or_a_rule(tmp_path):
    fallbacks = {
        p.name: then.name for p, then in study.Study(histories(tmp_path)).fallbacks.items()
    }
    assert fallbacks["rl2"] == "handover:shots=4,to=full_reward,run=rl2"
    assert fallbacks["icl_rl"] == "handover:shots=4,to=lora_reward,run=icl_rl"
    assert fallbacks["maml"] == "handover:shots=4,to=ucb1,run=maml"
    assert "mtrl" not in fallbacks
    grid = study.Study(histories(tmp_path, family="gridnavi", axes=("slip",))).fallbacks
    assert "mtrl_finetune" not in {player.name for player in grid}


def test_states_of_transformers_are_no_changes_of_weights():
    """``lora_maml`` takes gradient steps, but represents its knowledge by a hidden state."""
    kept = {name: study._keeps_changes(Player(name)) for name in ("maml", "lora_maml", "rl2")}
    assert kept == {"maml": True, "lora_maml": False, "rl2": False}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"family": "point_nav", "axes": ("slip",)}, "discrete actions"),
        ({"axes": ("horizon",)}, "Signals after 4 of 10 episodes .* has 40"),
    ],
)
def test_what_cannot_be_played_is_refused(tmp_path, given, message):
    with pytest.raises(UserError, match=message):
        study.Study(histories(tmp_path, **given)).play()


def test_halves_of_training_like_trials_share_no_task(tmp_path):
    """GridNavi has 21 tasks: trials 0 and 21 are of the same one."""
    some = study.Study(histories(tmp_path, family="gridnavi", axes=("slip",)))
    fold = some._fold
    assert (fold[:19] == fold[21:40]).all()
    assert 0 < fold.mean() < 1


@pytest.mark.slow
@pytest.mark.usefixtures("rendered")
def test_the_study_plays_and_prints_everything(tmp_path, monkeypatch, capsys):
    few = [Player(name) for name in ("rl2", "maml", "mtrl")]
    monkeypatch.setattr(Histories, "methods", property(lambda self: few))
    out = tmp_path / "out"
    arguments = ("detect", "--size", "smoke", "--axes", "reward_sign", "--out", str(out))
    printed, _ = run(*arguments, capsys=capsys)
    assert "| axis | method | failures | hindsight | low return |" in printed
    assert (
        "Fallbacks: rl2: handover:shots=4,to=full_reward,run=rl2; maml: handover:shots=4,to=ucb1,run=maml."
        in printed
    )
    with (out / "detection.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"rl2", "maml"}
    steps = {row["method"] for row in rows if row["signal"] == "step size"}
    assert steps == {"maml"}
    assert (out / "figures" / "detection.svg").exists()
    assert run(*arguments, capsys=capsys)[0] == printed
