"""What does the meta-gradient cost, and how noisy is it? Each estimator against first order and against plain PPO.

    python -m experiments.studies.meta_gradient [--replicates 1000]

*Cost*: seconds and memory of one outer step on 2D navigation (40 tasks x 20 episodes x 100 steps, one inner step), each
in a process of its own (Linux reports the peak memory of a process).

*Noise*: on one tabular MDP the value V of a softmax policy is exact, by dynamic programming, and so is the
meta-gradient of V(theta + alpha grad J(theta)). Estimates replace grad J by the surrogate's gradient on a batch of
episodes; everything after the inner step stays exact. Bias is the distance of their mean from the exact one, and noise
their standard deviation, both as shares of its length. A bias near its standard error ("floor") may be none. "ppo" is
the gradient of V(theta), without the inner step.

Shape letters: R replicates, S states, A actions, P parameters.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from bridge.maths.surrogates import ESTIMATORS, Estimator
from bridge.noise import TrialNoise
from bridge.tasks import family as make_family
from bridge.tasks.tabular_mdp import STATES
from rl_algos import per_task
from rl_algos.inner_loop import InnerConfig, InnerLoop
from rl_algos.maml import Config, MamlLearner
from rl_algos.per_task import Parameters
from rl_algos.policies import MlpPolicy

HORIZON, ALPHA, HIDDEN = 10, 5.0, 8
BATCHES = (5, 20, 80)
"""Episodes that the inner gradient is estimated from."""


def cost(method: Estimator | Literal["ppo"], repeats: int = 5) -> tuple[float, float]:
    """Median seconds of an outer step, and the MiB that it needs at its peak."""
    torch.set_num_threads(1)
    shared = Config(tasks_per_update=40, episodes_per_step=20, epochs=1)
    config = (
        replace(shared, inner_steps=0)
        if method == "ppo"
        else replace(shared, inner_steps=1, estimator=method)
    )
    learner = MamlLearner(make_family("point_nav"), config, seed=0)
    stages, _ = learner._play()
    seconds, before = [], _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    for _ in range(repeats):
        began = time.perf_counter()
        learner._descend(-learner._after_adapting(stages, 0.0)[0])
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), _memory("VmHWM") - before


def _memory(what: str) -> float:
    """MiB that the process holds (VmRSS) or has held (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


class ExactMdp:
    """One tabular MDP, a policy, and the value of any parameters of that policy."""

    def __init__(self) -> None:
        self.family = make_family("tabular_mdp")
        self.task = self.family.sample("train", torch.arange(1))
        self.transition = self.task.params["transition"][0].double()
        self.reward = self.task.params["reward_mean"][0].double()
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(0)
            policy = MlpPolicy(self.family.observation, self.family.action, HIDDEN)
            torch.nn.init.normal_(policy.head.weight, std=0.3)
        settings = InnerConfig(
            inner_lr=ALPHA, gamma=1.0, lam=1.0, baseline="time", standardise=False
        )
        self.inner = InnerLoop(policy, settings).double()

    def value(self, params: Parameters) -> Float[Tensor, " R"]:
        """Expected return of an episode from state 0, for each row of parameters."""
        count = len(next(iter(params.values())))
        chance = per_task.out(
            self.inner.policy, params, torch.arange(STATES).expand(count, -1)
        ).softmax(-1)
        here = torch.eye(STATES, dtype=torch.float64)[0].expand(count, -1)
        total = torch.zeros(count, dtype=torch.float64)
        for _ in range(HORIZON):
            both = here[..., None] * chance
            total = total + (both * self.reward).sum((-1, -2))
            here = torch.tensordot(both, self.transition, dims=2)
        return total

    def start(self, count: int) -> Parameters:
        """Copies of theta that gradients are taken of."""
        return {
            name: p.detach().clone().requires_grad_() for name, p in self.inner.start(count).items()
        }

    def exact(self) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
        """The exact meta-gradient, and the gradient of V(theta)."""
        params = self.start(1)
        slope = torch.autograd.grad(
            self.value(params).sum(), list(params.values()), create_graph=True
        )
        after = {
            name: p + ALPHA / HORIZON * g
            for (name, p), g in zip(params.items(), slope, strict=True)
        }
        through = torch.autograd.grad(self.value(after).sum(), list(params.values()))
        return _flat(through)[0], _flat([g.detach() for g in slope])[0]

    def estimates(
        self, estimator: Estimator, episodes: int, replicates: int
    ) -> Float[Tensor, "R P"]:
        """The meta-gradient on as many batches of ``episodes`` episodes, the same ones for every estimator."""
        found = []
        for rows in torch.arange(replicates).split(max(1, 20_000 // episodes)):
            params, noise = self.start(len(rows)), TrialNoise.of(f"meta_gradient/{episodes}", rows)
            tasks = self.family.sample("train", torch.zeros_like(rows))
            frozen = {name: p.detach() for name, p in params.items()}
            played = per_task.roll_out(
                self.inner.policy, frozen, self.family, tasks, noise, episodes
            )
            judged = self.inner.with_advantages(played._replace(reward=played.reward.double()))
            after, _ = self.inner.step(params, judged, estimator)
            found.append(_flat(torch.autograd.grad(self.value(after).sum(), list(params.values()))))
        return torch.cat(found)


def _flat(gradients: tuple[Tensor, ...] | list[Tensor]) -> Float[Tensor, "R P"]:
    return torch.cat([g.flatten(1) for g in gradients], 1)


def noise(replicates: int) -> list[tuple[str, int, float, float, float]]:
    """Estimator, episodes, bias, the bias's floor, and noise."""
    mdp = ExactMdp()
    exact, plain = mdp.exact()
    length = exact.norm()
    rows = [("ppo", 0, float((plain - exact).norm() / length), 0.0, 0.0)]
    for episodes in BATCHES:
        for estimator in ESTIMATORS:
            found = mdp.estimates(estimator, episodes, replicates)
            spread = float(found.var(0).sum().sqrt() / length)
            bias = float((found.mean(0) - exact).norm() / length)
            rows.append((estimator, episodes, bias, spread / replicates**0.5, spread))
    return rows


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--replicates", type=int, default=1000, help="batches that each estimate is made from"
    )
    replicates = parser.parse_args().replicates
    if replicates < 1:
        parser.error(f"--replicates is 1 or more; found {replicates}")
    torch.set_num_threads(1)
    print("| outer step with | seconds | MiB | seconds, ppo = 1 |")
    print("|---|--:|--:|--:|")
    base = 0.0
    for method in ("ppo", "fomaml", "maml", "lvc", "dice"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, memory = pool.apply(cost, (method,))
        base = base or seconds
        print(f"| {method} | {seconds:.3f} | {memory:.0f} | {seconds / base:.1f} |", flush=True)
    print(f"\n{replicates} replicates, exact everything but the inner gradient\n")
    print("| inner gradient by | episodes | bias | floor | noise |")
    print("|---|--:|--:|--:|--:|")
    for name, episodes, bias, floor, spread in noise(replicates):
        print(
            f"| {name} | {episodes or '–'} | {bias:.3f} | {floor:.3f} | {spread:.3f} |", flush=True
        )


if __name__ == "__main__":
    main()
