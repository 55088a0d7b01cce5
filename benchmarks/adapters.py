"""How fast do the adapters of many trials learn together, beside a loop over trials with peft?

    python benchmarks/adapters.py [--repeats 5]

An optimiser step (forward pass, backward pass, Adam) of 64 trials with a LoRA adapter each. Ours is one pass with all
adapters in it. With peft one goes through the trials: "loops" trains a model a trial, on the same base
weights, each by itself; "set_adapter" one model with an adapter a trial. Loops are faster that go forward by trial and
then back once for all, with one Adam: "models" does so with a model a trial, "swapped" with one whose weights are
swapped. The ratios are those of the loops, and of the fastest way of all. "Mixed" is peft's batch with an adapter a
row, meant for inference and refused in training mode: gradients flow all the same. "Base" is a pass there and back
without adapters, which bounds ours.

Everyone alike: the base asks for no gradients, so that no pass computes those of its weights; Adam is fused; the loss
is the mean negative log-likelihood of a trial's actions. The ways take turns, on one thread, then on as many as there
are cores; "best" has each way's better choice, since passes of a single trial are too small for two threads. Measure
where nothing else runs: time is the clock's. First it is checked, in float64, that all ways end at the same adapters.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import peft
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.profiler import profile

from bridge.rng import Rows
from bridge.tasks.base import Discrete
from bridge.training.learner import seeded_init
from llm_adapt.low_rank import Adapters, BatchedLora
from llm_adapt.policy import TransformerPolicy, build

TRIALS, LENGTHS, PROFILED = 64, (5, 10, 20, 50, 100, 200, 500), 100
SETTING = BatchedLora(rank=8, alpha=16, targets=("q_proj", "v_proj"))
ARMS, ACTIONS = 10, 5

Weights = dict[str, Tensor]
"""By module and side, as peft names them."""
Step = Callable[[Tensor, Tensor], None]
"""Of an optimiser, on tokens and actions of all trials."""


def loss(out: Tensor, label: Tensor) -> Tensor:
    """Each trial's mean negative log-likelihood, summed over the trials."""
    return cross_entropy(out.flatten(0, 1), label.flatten(), reduction="sum") / label.shape[1]


def adam(weights: list[Tensor]) -> torch.optim.Adam:
    return torch.optim.Adam(weights, lr=1e-3, fused=True)


class Batched:
    """All trials in one pass; what is timed of ours."""

    def __init__(self, policy: TransformerPolicy, start: Adapters) -> None:
        copies = ({name: w.clone().requires_grad_() for name, w in side.items()} for side in start)
        self.policy, self.adapters = policy, Adapters(*copies)
        self.adam = adam(list(self.weights().values()))

    def __call__(self, tokens: Tensor, label: Tensor) -> None:
        self.adam.zero_grad()
        with SETTING.on(self.policy, self.adapters):
            loss(self.policy(tokens).out, label).backward()
        self.adam.step()

    def weights(self) -> Weights:
        """Of all trials, stacked."""
        sides = (("lora_A", self.adapters.down), ("lora_B", self.adapters.up))
        return {f"{name}.{side}": weights for side, rows in sides for name, weights in rows.items()}


class Models:
    """A model of peft a trial, all on the same base weights."""

    def __init__(self, policy: TransformerPolicy, start: Adapters) -> None:
        self.models, self.each = self.made(policy)
        for name, rows in Batched(policy, start).weights().items():
            for mine, row in zip(self.each, rows, strict=True):
                mine[name].data.copy_(row.detach())
        self.adam = adam([weights for mine in self.each for weights in mine.values()])

    def made(self, policy: TransformerPolicy) -> tuple[list[Any], list[Weights]]:
        """The models, and each trial's weights."""
        models = [wrapped(policy) for _ in range(TRIALS)]
        return models, [of(model, "default") for model in models]

    def __call__(self, tokens: Tensor, label: Tensor) -> None:
        self.adam.zero_grad()
        outs = [model(mine).out for model, mine in zip(self.models, tokens.split(1), strict=True)]
        loss(torch.cat(outs), label).backward()
        self.adam.step()

    def weights(self) -> Weights:
        """Of all trials, stacked."""
        return {name: torch.stack([mine[name] for mine in self.each]) for name in self.each[0]}


class Loops(Models):
    """A training loop a trial."""

    def __init__(self, policy: TransformerPolicy, start: Adapters) -> None:
        super().__init__(policy, start)
        self.adams = [adam(list(mine.values())) for mine in self.each]

    def __call__(self, tokens: Tensor, label: Tensor) -> None:
        trials = zip(self.models, self.adams, tokens.split(1), label.split(1), strict=True)
        for model, mine, seen, says in trials:
            mine.zero_grad()
            loss(model(seen).out, says).backward()
            mine.step()


class Named(Models):
    """One model of peft with an adapter a trial; ``set_adapter`` stops the others' gradients, so none waits."""

    def made(self, policy: TransformerPolicy) -> tuple[list[Any], list[Weights]]:
        model = wrapped(policy, "0")
        for trial in range(1, TRIALS):
            model.add_adapter(str(trial), model.peft_config["0"])
        return [model], [of(model, str(trial)) for trial in range(TRIALS)]

    def __call__(self, tokens: Tensor, label: Tensor) -> None:
        self.adam.zero_grad()
        for trial, (mine, says) in enumerate(zip(tokens.split(1), label.split(1), strict=True)):
            self.models[0].set_adapter(str(trial))
            loss(self.models[0](mine).out, says).backward()
        self.adam.step()


class Mixed(Named):
    """The same, with all trials in one pass and an adapter a row."""

    def __init__(self, policy: TransformerPolicy, start: Adapters) -> None:
        super().__init__(policy, start)
        for weights in self.adam.param_groups[0]["params"]:
            weights.requires_grad_()

    def __call__(self, tokens: Tensor, label: Tensor) -> None:
        self.adam.zero_grad()
        names = [str(trial) for trial in range(TRIALS)]
        loss(self.models[0](tokens, adapter_names=names).out, label).backward()
        self.adam.step()


class Swapped:
    """One model of peft with one adapter, called with each trial's weights in its place."""

    def __init__(self, policy: TransformerPolicy, start: Adapters) -> None:
        self.model, self.stacks = wrapped(policy), Batched(policy, start).weights()
        self.adam = adam(list(self.stacks.values()))

    def __call__(self, tokens: Tensor, label: Tensor) -> None:
        self.adam.zero_grad()
        names = [f"base_model.model.{name}.default.weight" for name in self.stacks]
        rows = zip(*(stack.unbind() for stack in self.stacks.values()), strict=True)
        outs = [
            functional_call(self.model, dict(zip(names, row, strict=True)), mine).out
            for row, mine in zip(rows, tokens.split(1), strict=True)
        ]
        loss(torch.cat(outs), label).backward()
        self.adam.step()

    def weights(self) -> Weights:
        """Of all trials, stacked."""
        return self.stacks


BY_TRIAL = {"loops": Loops, "set_adapter": Named, "models": Models, "swapped": Swapped}
TEST_TIME_METHODS = {"batched": Batched, **BY_TRIAL, "mixed": Mixed}


def wrapped(policy: TransformerPolicy, adapter: str = "default") -> Any:
    """A model of peft on the policy's own weights, in its precision."""
    config = peft.LoraConfig(
        r=SETTING.rank, lora_alpha=SETTING.alpha, target_modules=list(SETTING.targets)
    )
    base: Any = copy.deepcopy(policy, {id(weights): weights for weights in policy.parameters()})
    return (
        peft.get_peft_model(base, config, adapter, autocast_adapter_dtype=False)
        .to(policy.dtype)
        .eval()
    )


def of(model: Any, adapter: str) -> Weights:
    """One adapter's weights by module and side."""
    ending = f".{adapter}.weight"
    return {
        name.removeprefix("base_model.model.").removesuffix(ending): weights
        for name, weights in model.named_parameters()
        if name.endswith(ending)
    }


def made(dtype: torch.dtype) -> tuple[TransformerPolicy, Adapters]:
    """A frozen policy, and adapters that change what it says, so that all of their gradients are there."""
    with seeded_init(0):
        policy = build("llama", Discrete(ARMS), Discrete(ACTIONS), hidden=64, layers=3, heads=4)
    policy = policy.to(dtype).eval().requires_grad_(False)
    rng = Rows.of("benchmark", torch.arange(TRIALS))
    start = SETTING.new(policy, rng)
    for name, up in start.up.items():
        up += 0.1 * rng.at(f"up/{name}").normal(up[0].numel()).view_as(up)
    return policy, start


def data(policy: TransformerPolicy, length: int) -> tuple[Tensor, Tensor]:
    """Tokens and actions of all trials."""
    rng = Rows.of(f"data/{length}", torch.arange(TRIALS))
    tokens = rng.normal(length * policy.layout.width).view(TRIALS, length, -1).to(policy.dtype)
    return tokens, (rng.at("action").uniform(length) * ACTIONS).long()


def check() -> None:
    """All ways end at the same adapters. Adam blows up the rounding of small gradients: in float64."""
    policy, start = made(torch.float64)
    before = Batched(policy, start).weights()
    ends = {}
    for name, way in TEST_TIME_METHODS.items():
        step = way(policy, start)
        step(*data(policy, 20))
        ends[name] = step.weights()
    for end in ends.values():
        for name, weights in end.items():
            torch.testing.assert_close(weights, ends["batched"][name], atol=1e-5, rtol=0)
            assert (weights - before[name]).abs().amax((1, 2)).min() > 5e-4, (
                "every trial's adapter has moved"
            )
    far = max(
        (end[name] - ends["batched"][name]).abs().max().item()
        for end in ends.values()
        for name in end
    )
    print(f"All ways end at the same adapters: they are no more than {far:.0e} apart.")


def base(policy: TransformerPolicy) -> Step:
    """A pass without adapters, there and back to the tokens."""
    return lambda tokens, label: loss(policy(tokens.clone().requires_grad_()).out, label).backward()


def milliseconds(run: Step, *given: Tensor) -> float:
    began = time.perf_counter()
    run(*given)
    return (time.perf_counter() - began) * 1e3


def medians(runs: dict[str, Step], threads: int, repeats: int, *given: Tensor) -> list[float]:
    """Milliseconds of each way's step on so many threads; the first time is not counted."""
    torch.set_num_threads(threads)
    times = [[milliseconds(run, *given) for run in runs.values()] for _ in range(repeats + 1)][1:]
    return [statistics.median(way) for way in zip(*times, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--repeats",
        type=int,
        default=5,
        help="times that each way is measured, after one to warm up",
    )
    repeats, choices = parser.parse_args().repeats, sorted({1, os.cpu_count() or 1})
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=FutureWarning)  # peft 0.21 with transformers 5.23
    check()
    policy, start = made(torch.float32)
    runs = {
        "base": base(policy),
        **{name: way(policy, start) for name, way in TEST_TIME_METHODS.items()},
    }
    print(
        f"{TRIALS} trials, rank {SETTING.rank} on {' and '.join(SETTING.targets)}, llama of 3 layers of 64, torch "
        f"{torch.__version__}, peft {peft.__version__}; milliseconds a step, median of {repeats}"
    )
    heads = (f"{name:>11s}" for name in runs)
    print(f"{'transitions':11s} {'threads':>7s}", *heads, f"{'loops':>7s}x {'fastest':>8s}x")
    for length in LENGTHS:
        given = data(policy, length)
        rows = {str(threads): medians(runs, threads, repeats, *given) for threads in choices}
        rows["best"] = [min(way) for way in zip(*rows.values(), strict=True)]
        for threads, row in rows.items():
            median = dict(zip(runs, row, strict=True))
            ours, fastest = median["batched"], min(median[name] for name in BY_TRIAL)
            cells = (f"{value:11.1f}" for value in row)
            ratios = f"{median['loops'] / ours:7.1f}x {fastest / ours:8.1f}x"
            print(f"{length:11d} {threads:>7s}", *cells, ratios, flush=True)
    torch.set_num_threads(1)
    given = data(policy, PROFILED)
    with profile() as found:
        runs["batched"](*given)
    print(f"\nWhere a step of ours goes, {PROFILED} transitions a trial:")
    operations = found.key_averages()
    whole = sum(operation.self_cpu_time_total for operation in operations)
    for operation in sorted(operations, key=lambda one: -one.self_cpu_time_total)[:8]:
        print(
            f"{operation.self_cpu_time_total / whole:5.0%}  {operation.count:4d} x {operation.key}"
        )


if __name__ == "__main__":
    main()
