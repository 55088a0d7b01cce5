"""Steps of a Gymnasium environment as a task family, beside Gymnasium's own vector environment, in one run.

    python benchmarks/gym_stepping.py --env CartPole-v1 --rows 64

Both step the same number of environments with random actions on one core, in turn. The family plays whole episodes and
stands still after an end, so that its steps are those that were taken; the vector environment resets by itself.
"""

from __future__ import annotations

import argparse
import statistics
import time

import gymnasium
import torch

from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.references.random import Random
from bridge.tasks import family as make_family


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--vary", default="")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    vary = f",vary={given.vary}" if given.vary else ""
    family = make_family(f"gym:env={given.env}{vary}")
    theirs = gymnasium.vector.SyncVectorEnv(
        [lambda: gymnasium.make(given.env, disable_env_checker=True)] * given.rows
    )
    played = Played(family, given.rows)
    ratios = []
    for _ in range(given.repeats):
        ours = rate(played.steps, given.seconds)
        peer = rate(lambda: steps_of(theirs, given.rows), given.seconds)
        ratios.append(ours / peer)
        print(
            f"family {ours:,.0f} steps a CPU second, SyncVectorEnv {peer:,.0f}: {ours / peer:.2f}"
        )
    print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


class Played:
    """Episodes of random play, one after another."""

    def __init__(self, family, rows: int) -> None:
        self.family, self.rows, self.number = family, rows, 0
        self.agent = Random(family)

    def steps(self) -> int:
        """Play an episode on each row; return the steps that were taken."""
        ids = torch.arange(self.rows)
        tasks, noise = self.family.sample("id", ids), TrialNoise.of(self.number, ids)
        self.number += 1
        horizon = self.family.trial("id").horizon
        _, totals = play_episode(
            self.agent, self.family, tasks, (), noise, episode=0, horizon=horizon
        )
        return int(totals.steps.sum())


def steps_of(env: gymnasium.vector.VectorEnv, rows: int, steps: int = 50) -> int:
    """Take some random steps; return their number."""
    env.reset(seed=0)
    for _ in range(steps):
        env.step(env.action_space.sample())
    return steps * rows


def rate(play, seconds: float) -> float:
    """Steps a CPU second of ``play``, which returns the number that it took."""
    began, taken = time.process_time(), 0
    while time.process_time() - began < seconds:
        taken += play()
    return taken / (time.process_time() - began)


if __name__ == "__main__":
    main()
