"""How fast does a transformer learn from histories? Tokens a second, beside the plain Trainer loop of transformers.

    python benchmarks/pretraining.py [--steps 60]

Same policy, same histories, as many windows a step, the same kind of optimiser, one thread. The plain loop is what one
would write: a ``torch.utils.data.Dataset`` that reads a row, cuts a window from it and makes its tokens; the default
collator; a Trainer that neither logs nor saves. Ours cuts all windows of a step at once. What bounds both are forward
and backward pass, which are measured alone, on tokens that are there already.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from bridge.rng import Rows
from bridge.tasks import family as make_family
from llm_adapt import data
from llm_adapt.icl_dpt import Config, IclDptLearner
from llm_adapt.windows import cut

SETTINGS = (("bandit:k=5,n=500,arms=gaussian", 512), ("darkroom", 256), ("bandit:k=5,n=10", 10))


class Model(nn.Module):
    """What a Trainer calls: a loss of named tensors."""

    def __init__(self, learner: IclDptLearner) -> None:
        super().__init__()
        self.learner, self.policy = learner, learner.policy

    def forward(self, tokens: Tensor, says: Tensor, inside: Tensor) -> dict[str, Tensor]:
        return {"loss": self.learner._loss(tokens, says, inside)[0]}


class Plain(torch.utils.data.Dataset):
    """A window of one history an item."""

    def __init__(self, learner: IclDptLearner, items: int) -> None:
        self.learner, self.rows, self.items = learner, learner.collection.shard(0), items

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        learner = self.learner
        noise = Rows.of("plain", torch.tensor([index]))
        found = data.read(self.rows, [index % len(self.rows)])
        window = cut(found, *learner.questions(found), learner.width, learner.policy.layout, noise)
        return {"tokens": window.tokens[0], "says": window.label[0], "inside": window.inside[0]}


def made(spec: str, window: int) -> IclDptLearner:
    return IclDptLearner(
        make_family(spec), Config(window=window, batch=8192, steps_per_update=50_000), seed=0
    )


def ours(learner: IclDptLearner, steps: int) -> float:
    """Seconds of ``steps`` gradient steps, after one update to warm up."""
    learner.update(0.1)
    before, began = learner.grad_steps, time.perf_counter()
    while learner.grad_steps < before + steps:
        learner.pool.extend(learner.pool[:1])  # no time for play
        learner.update(0.1)
    return (time.perf_counter() - began) / (learner.grad_steps - before)


def plain(learner: IclDptLearner, rows: int, steps: int) -> float:
    """Seconds of each step of a Trainer."""
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=rows,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            learning_rate=1e-3,
            max_grad_norm=1.0,
            remove_unused_columns=False,
        )
        trainer = Trainer(
            model=Model(learner), args=settings, train_dataset=Plain(learner, rows * steps)
        )
        began = time.perf_counter()
        trainer.train()
        return (time.perf_counter() - began) / steps


def bound(learner: IclDptLearner, rows: int, steps: int) -> float:
    """Seconds of each forward and backward pass."""
    found = data.read(learner.pool[0], [0] * rows)
    noise = Rows.of("bound", torch.arange(rows))
    window = cut(found, *learner.questions(found), learner.width, learner.policy.layout, noise)
    began = time.perf_counter()
    for _ in range(steps):
        learner.policy.zero_grad()
        learner._loss(*window)[0].backward()
    return (time.perf_counter() - began) / steps


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60, help="gradient steps of each")
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    for spec, window in SETTINGS:
        learner = made(spec, window)
        rows = max(1, learner.config.batch // learner.width)
        own, alone = ours(learner, steps), bound(learner, rows, steps)
        trainer = plain(made(spec, window), rows, steps)
        tokens = rows * learner.width
        print(
            f"{spec}, {rows} windows of {learner.width}: ours {tokens / own:,.0f} tokens/s, Trainer "
            f"{tokens / trainer:,.0f}, passes alone {tokens / alone:,.0f}: {trainer / own:.2f} x the Trainer, "
            f"{alone / own:.0%} of the bound"
        )


if __name__ == "__main__":
    main()
