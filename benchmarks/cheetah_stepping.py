"""Steps of the half-cheetah as a task family, beside raw ``mj_step`` and Gymnasium's AsyncVectorEnv, in one run.

    python benchmarks/cheetah_stepping.py --rows 128 --cores 2

Every one takes random actions from the same number of cheetahs: the family by its batched steps, ``mj_step`` in a loop
over one body and nothing else (five simulated steps a step; its rate is multiplied by the cores), and AsyncVectorEnv
with a process for each of ``--envs`` environments. All use ``--cores`` cores. Rates are of wall time; CPU seconds stand
beside them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import gymnasium
import numpy as np
import torch

from bridge.rng import Rows
from bridge.tasks.locomotion.cheetah import CheetahVel
from bridge.tasks.locomotion.physics import Physics

STEPS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    os.sched_setaffinity(0, range(given.cores))
    torch.set_num_threads(given.cores)
    family = CheetahVel()
    peer = gymnasium.make_vec("HalfCheetah-v5", given.envs, vectorization_mode="async")
    of_raw, of_peer = [], []
    for _ in range(given.repeats):
        ours, spent = rate(lambda: stepped(family, given.rows), given.seconds)
        raw, _ = rate(lambda: simulated(family.physics), given.seconds)
        theirs, _ = rate(lambda: vectorised(peer, given.envs), given.seconds)
        of_raw.append(ours / (raw * given.cores))
        of_peer.append(ours / theirs)
        print(
            f"family {ours:,.0f} steps a second ({ours / spent:,.0f} a CPU second), mj_step {raw:,.0f} a core, "
            f"AsyncVectorEnv {theirs:,.0f}: {of_raw[-1]:.2f} of mj_step, {of_peer[-1]:.1f}x AsyncVectorEnv"
        )
    peer.close()
    for name, ratios in (("mj_step times cores", of_raw), ("AsyncVectorEnv", of_peer)):
        low, high = min(ratios), max(ratios)
        print(f"median ratio to {name}: {statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})")


def stepped(family: CheetahVel, rows: int) -> int:
    """Take the steps of an episode on each row; return their number."""
    ids = torch.arange(rows)
    tasks, noise = family.sample("id", ids), Rows.of(0, ids)
    state, _ = family.reset(tasks, noise)
    actions = 2 * torch.rand(STEPS, rows, family.robot.motors) - 1
    for action in actions:
        state = family.step(tasks, state, action, noise).state
    return STEPS * rows


def simulated(physics: Physics) -> int:
    """Take the steps of an episode of one body by ``mj_step`` alone; return their number."""
    mujoco, model = physics.mujoco, physics.model
    data = mujoco.MjData(model)
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, model.nu))
    for action in actions:
        data.ctrl[:] = action
        mujoco.mj_step(model, data, physics.substeps)
    return STEPS


def vectorised(env: gymnasium.vector.VectorEnv, count: int) -> int:
    """Take the steps of an episode of every environment; return their number."""
    env.reset(seed=0)
    for _ in range(STEPS):
        env.step(env.action_space.sample())
    return STEPS * count


def rate(play: Callable[[], int], seconds: float) -> tuple[float, float]:
    """Steps a second of ``play``, which returns the number that it took; and CPU seconds a second."""
    began, cpu, taken = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        taken += play()
    wall = time.perf_counter() - began
    return taken / wall, (time.process_time() - cpu) / wall


if __name__ == "__main__":
    main()
