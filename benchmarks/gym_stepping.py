"""Steps of a Gymnasium environment as a task family, beside Gymnasium's own vector environment, in one run.

    python benchmarks/gym_stepping.py --rows 64              # steps of rows that all live
    python benchmarks/gym_stepping.py --rows 64 --random     # whole episodes of random play

Both step the same number of CartPoles on one core, in turn. By default a rule balances the poles of both, so that no
episode ends early and nothing but stepping is measured. With ``--random`` the family is played as evaluations play it:
by whole episodes, whose rows stand still once they have ended, and only steps that were taken count; the vector
environment resets by itself.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import gymnasium
import numpy as np
import torch

from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.gym_family import GymFamily

STEPS = 200
"""Steps of an episode that is balanced."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vary", default="")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    family = GymFamily(env="CartPole-v1", vary=given.vary)
    theirs = gymnasium.vector.SyncVectorEnv(
        [lambda: gymnasium.make("CartPole-v1", disable_env_checker=True)] * given.rows
    )
    ours = played if given.random else balanced
    ratios = []
    for _ in range(given.repeats):
        mine = rate(partial(ours, family, given.rows), given.seconds)
        peer = rate(partial(steps_of, theirs, given.rows, given.random), given.seconds)
        ratios.append(mine / peer)
        print(
            f"family {mine:,.0f} steps a CPU second, SyncVectorEnv {peer:,.0f}: {mine / peer:.2f}"
        )
    print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def balance(observations: Sequence[np.ndarray]) -> list[int]:
    """Push towards the side to which the pole falls, from observations of Gymnasium's."""
    return [int(obs[2] + obs[3] > 0) for obs in observations]


def balanced(family: GymFamily, rows: int) -> int:
    """Balance a pole on each row; return the steps that were taken."""
    ids = torch.arange(rows)
    tasks, noise = family.sample("id", ids), Rows.of(0, ids)
    state, _ = family.reset(tasks, noise)
    taken = 0
    for _ in range(STEPS):
        outcome = family.step(tasks, state, torch.tensor(balance(family._stage.obs)), noise)
        state, ended = outcome.state, outcome.ends()[0]
        taken += rows - int(ended.sum())
    return taken


def played(family: GymFamily, rows: int) -> int:
    """Play an episode at random on each row; return the steps that were taken."""
    ids = torch.arange(rows)
    tasks, noise = family.sample("id", ids), TrialNoise.of(time.time_ns() % 1_000, ids)
    horizon = family.trial("id").horizon
    _, totals = play_episode(Random(family), family, tasks, (), noise, episode=0, horizon=horizon)
    return int(totals.steps.sum())


def steps_of(env: gymnasium.vector.VectorEnv, rows: int, at_random: bool) -> int:
    """Take some steps at random, or balance; return their number."""
    observations, _ = env.reset(seed=0)
    for _ in range(STEPS):
        actions = env.action_space.sample() if at_random else np.array(balance(observations))
        observations, *_ = env.step(actions)
    return STEPS * rows


def rate(play: Callable[[], int], seconds: float) -> float:
    """Steps a CPU second of ``play``, which returns the number that it took."""
    began, taken = time.process_time(), 0
    while time.process_time() - began < seconds:
        taken += play()
    return taken / (time.process_time() - began)


if __name__ == "__main__":
    main()
