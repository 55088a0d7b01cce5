"""Would it have known? Scores of signals on made-up methods, and the whole study."""

import csv

import numpy as np
import pytest

from bridge.errors import UserError
from experiments.studies.detection import study
from experiments.studies.detection.scores import scored
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


def of(method, fallback, of_steps=False):
    home = responses()
    return scored(
        home, [responses(), method], [fallback, fallback], floor=FLOOR, shots=2, of_steps=of_steps
    )


def test_a_failure_that_is_foreseen_is_found_and_the_switch_gains():
    found = of(responses(broken=0.8, foreseen=30.0), responses(regret=0.4))
    assert found.shots == 2
    assert found.failures.mean == pytest.approx(0.4, abs=0.03)
    known = found.signals["low return"]
    assert known.auroc.mean > 0.99
    assert known.gain.low > 0.1
    assert found.best.mean == pytest.approx(1 - (0.6 * 0.2 + 0.4 * 0.4), abs=0.02)
    assert found.never.mean == pytest.approx(1 - (0.6 * 0.2 + 0.4 * 1.0), abs=0.02)
    assert found.always.mean == pytest.approx(0.6)
    assert known.curve[0] < known.curve[-1]
    assert known.curve[-1] == pytest.approx(1 - found.never.mean)


def test_a_failure_that_leaves_no_sign_is_not_found():
    found = of(responses(broken=0.8), responses(regret=0.4))
    for signal in found.signals.values():
        assert abs(signal.auroc.mean - 0.5) < 0.06
        assert signal.gain.mean < 0.02


def test_a_method_without_failures_has_no_auroc_and_a_switch_costs_its_false_alarms():
    found = of(responses(), responses(regret=0.5))
    assert found.failures.mean == 0
    known = found.signals["low return"]
    assert np.isnan(known.auroc.mean)
    assert known.gain.mean == pytest.approx(-0.05 * 0.3, abs=0.01)


def test_signals_are_those_that_the_method_has():
    method, fallback = responses(), responses()
    assert "step size" not in of(method, fallback).signals
    assert "step size" in of(method, fallback, of_steps=True).signals
    blind = method._replace(state=None)
    found = scored(blind, [blind], [fallback], floor=FLOOR, shots=2, of_steps=True)
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


def test_what_cannot_be_played_is_refused(tmp_path):
    with pytest.raises(UserError, match="discrete actions"):
        study.Study(histories(tmp_path, family="point_nav", axes=("slip",))).play()


@pytest.mark.slow
@pytest.mark.usefixtures("rendered")
def test_the_study_plays_and_prints_everything(tmp_path, monkeypatch, capsys):
    few = [Player(name) for name in ("rl2", "maml", "mtrl")]
    monkeypatch.setattr(Histories, "methods", property(lambda self: few))
    out = tmp_path / "out"
    arguments = ("detect", "--size", "smoke", "--axes", "reward_sign", "--out", str(out))
    printed, _ = run(*arguments, capsys=capsys)
    assert "| axis | method | failures | low return |" in printed
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
