"""The tasks of every split, pinned: a split that moves must move ``SUITE_VERSION`` (or its family's ``version``) too.

METABRIDGE_UPDATE_GOLDEN=1 pytest tests/bridge/tasks/test_golden.py      # then review the diff
"""

import json
import os
from pathlib import Path

import pytest
import torch

from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Clues
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks import family as make_family

GOLDEN = Path(__file__).parents[2] / "golden" / "splits.json"
SPECS = (
    "bandit:k=3,n=5",
    "bandit:k=3,n=5,arms=gaussian",
    "bandit:k=2,n=5,arms=dependent_uniform",
    "bandit:k=2,n=5,arms=dependent_hard",
    "bandit:k=3,n=5,arms=one_best_hard",
    "bandit:k=3,n=5,tasks=2",
    "contextual_bandit:opposed=0.5,decades=2",
    "tabular_mdp",
    "gridnavi",
    "gridnavi:train=inner",
    "gridnavi:tasks=4",
    "darkroom",
    "darkroom:train=inner",
    "darkroom:train=hole",
    "darkroom:variant=ad",
    "point_nav:episodes=2",
    "point_nav:episodes=2,variant=paper",
    "point_nav:episodes=2,variant=code",
    "point_nav:episodes=2,train=hole",
    "point_nav:episodes=2,tasks=3",
    "sparse_point",
    "sparse_point:variant=dense",
    "sparse_point:tasks=3",
    "minigrid:steps=20",
    "minigrid:suite=mt5,steps=20,tasks=4",
    "metaworld:steps=20",
    "metaworld:suite=ml10,episodes=2,steps=10",
    "metaworld:suite=mt10,episodes=2,steps=10,tasks=20",
    "cheetah_vel:episodes=2,steps=10",
    "cheetah_dir:episodes=2,steps=10",
    "ant_dir:episodes=2,steps=10",
    "ant_dir:episodes=2,steps=10,train=four",
    "ant_goal:episodes=2,steps=10",
    "walker_params:episodes=2,steps=10",
    "gym:vary=length=0.4..0.8,shift=length=0.8..1.6,episodes=2,steps=6",
)


def fingerprint(spec: str) -> dict:
    """Hash, trial, and for each split the first two tasks (summed parameters) and what a random agent earns on them."""
    family = make_family(spec)
    found: dict = {"hash": family.hash}
    for split in family.splits:
        tasks = family.sample(split, torch.arange(2))
        sums = {
            name: round(float(value.double().sum()), 3)
            for name, value in sorted(tasks.params.items())
        }
        rows, trial = Rows.of(0, torch.arange(2)), family.trial(split)
        noise = TrialNoise(
            rows, rows.at("agent")
        )  # one root for both: what was drawn under suite version 1
        agent = Random(family)
        memory = agent.start(Clues(), trial, noise.agent)
        _, totals = play_episode(
            agent, family, tasks, memory, noise, episode=0, horizon=trial.horizon
        )
        found[split] = [*trial, sums, round(float(totals.reward.mean()), 2)]
    return found


@pytest.mark.parametrize("spec", SPECS)
def test_splits_are_what_they_were(spec):
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    found = json.loads(json.dumps(fingerprint(spec)))
    if os.environ.get("METABRIDGE_UPDATE_GOLDEN"):
        lines = ",\n".join(
            f" {json.dumps(key)}: {json.dumps(value)}"
            for key, value in (known | {spec: found}).items()
        )
        GOLDEN.write_text(f"{{\n{lines}\n}}\n")
        return
    assert found.keys() == known[spec].keys()
    for split, expected in known[spec].items():
        if split == "hash":
            assert found[split] == expected
            continue
        *trial, sums, earned = expected
        assert found[split][:-2] == trial
        assert found[split][-2] == pytest.approx(
            sums, abs=0.002
        )  # the last digits of log and ndtri differ by machine
        assert found[split][-1] == pytest.approx(earned, abs=0.02)
