"""Pretraining on histories: at every step, raise the likelihood of a label given all that was known by then.

    loss = - mean over steps of log pi(label_t | token_0..t),    token_t = (obs_t, transition_{t-1})

What the label is makes the method: the source's own action (``llm_adapt/icl_ad.py``), or the oracle's
(``llm_adapt/icl_dpt.py``). Histories come shard by shard (``llm_adapt/data.py``); every one is an environment step paid
for once and read several times, in windows that begin anywhere in it and never go beyond its ends.

Shape letters: b windows of a step, W steps of a window, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import datasets
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bridge.config import Bounded
from bridge.learner import Saved, first_weights
from bridge.protocol import Card
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily
from bridge.tuning import Choice, LogUniform, Space
from bridge.workers import Workers
from llm_adapt import data
from llm_adapt.histories import Histories, default_sources
from llm_adapt.in_context import InContext
from llm_adapt.policy import build
from llm_adapt.tokens import Transition


@dataclass(frozen=True, kw_only=True)
class Config(Bounded):
    """How the policy is built and trained, and on what."""

    called: ClassVar[str] = "Imitation"

    backbone: str = "llama"
    """A new decoder of this kind, or a local folder of pretrained weights."""
    hidden: int = 64
    """Width of a new decoder."""
    layers: int = 3
    """How many it has."""
    heads: int = 4
    """Heads of attention in each."""
    window: int = 256
    """Steps that a token attends to, its own included, in training and at test."""
    sources: str = ""
    """Who makes the histories, joined by +: ``psrl+random``; empty: the family's own choice."""
    episodes: int = 0
    """Of each history; 0: as many as a trial has."""
    steps_per_update: int = 20_000
    """Environment steps of each new shard, in whole histories, of which there is at least one."""
    passes: float = 4.0
    """How often a step is read, on average."""
    batch: int = 4_096
    """Steps of each gradient step, in windows."""
    lr: float = 1e-3
    """Learning rate of AdamW at its highest."""
    warm_up: float = 0.02
    """Share of the budget in which it rises to that; it falls linearly to zero afterwards."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""

    def __post_init__(self) -> None:
        self.need("1 or more", "steps_per_update", "batch")
        self.need("0 or more", "episodes", "weight_decay")
        self.need("above 0", "lr", "max_grad_norm", "passes")
        self.need("from 0 to 1", "warm_up")


SPACE: Space = {
    "lr": LogUniform(3e-4, 3e-3),
    "passes": Choice((2.0, 4.0, 8.0)),
    "batch": Choice((2_048, 4_096, 8_192)),
    "weight_decay": LogUniform(1e-5, 1e-1),
}
"""What is tuned: not the decoder nor the data, which are other methods."""


class ImitationLearner(Saved):
    """Maximum likelihood on a growing pool of histories."""

    parts = ("policy", "optimizer")
    method: ClassVar[str]
    supervision: ClassVar[str]

    def __init__(self, family: TaskFamily, config: Config, *, seed: int, workers: Workers | None = None) -> None:
        self.family, self.config, self.seed, self.workers = family, config, seed, workers or Workers()
        whole = family.trial("train")
        span = (config.episodes or whole.episodes) * whole.horizon
        self.sources = tuple(config.sources.split("+")) if config.sources else default_sources(self.method, family)
        self.collection = data.Collection(
            family, self.sources, seed=seed, episodes=config.episodes, rows=max(1, config.steps_per_update // span)
        )
        self.width = min(config.window, span)
        self.pool: list[datasets.Dataset] = []
        with first_weights(seed):
            self.policy = build(
                config.backbone, family.observation, family.action, hidden=config.hidden, layers=config.layers,
                heads=config.heads, window=config.window, positions=config.window,
            ).to(self.workers.device)  # fmt: skip
        self.optimizer = torch.optim.AdamW(self.policy.parameters(), lr=config.lr, weight_decay=config.weight_decay)

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """One more shard, then some steps on windows of all that there are."""
        config, left = self.config, max(0.0, 1 - spent)
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * min(left, (spent + 1e-3) / config.warm_up if config.warm_up else left)
        while len(self.pool) <= self.updates:
            self.pool.append(self.collection.shard(len(self.pool)))
        fresh = sum(self.pool[self.updates]["length"])
        pool = datasets.concatenate_datasets(self.pool)
        count = max(1, config.batch // (self.width * self.workers.count))
        steps = max(1, round(config.passes * fresh / (count * self.width * self.workers.count)))
        sums = {"loss": 0.0, "hits": 0.0}
        for _ in range(steps):
            noise = Rows.of(f"learn/{self.method}/{self.seed}", self.workers.rows(self.grad_steps, count))
            loss, hits = self._loss(*self._windows(pool, noise))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.workers.average_gradients(self.policy.parameters())
            nn.utils.clip_grad_norm_(self.policy.parameters(), config.max_grad_norm)
            self.optimizer.step()
            self.grad_steps += 1
            sums["loss"] += loss.item()
            sums["hits"] += hits.item()
        self.updates += 1
        self.env_steps += fresh
        return {name: total / steps for name, total in sums.items()}

    def label(self, histories: Histories) -> Tensor:
        """What is imitated at each step, ``[b, T, ...]``."""
        raise NotImplementedError

    def _windows(self, pool: datasets.Dataset, noise: Rows) -> tuple[Tensor, Tensor, Float[Tensor, "b W"]]:
        """Tokens and labels of a window of each of some histories, and the weight of each step: 0 beyond its end.

        A window that would begin before its history begins with it, so that beginnings are seen as often as the rest.
        """
        row = (noise.at("row").uniform().double() * len(pool)).long().tolist()
        found = data.read(pool, row, self.family)
        first = (-(self.width // 2) + self._choices(found.length) * noise.at("first").uniform()).floor().long()
        at = first.clamp(min=0)[:, None] + torch.arange(self.width)
        inside = at < found.length[:, None]
        at, b = at.clamp(max=found.best.shape[1] - 1), torch.arange(len(row))[:, None]
        steps, layout = found.steps, self.policy.layout
        before = Transition(*(part[b, (at - 1).clamp(min=0)] for part in steps))
        none = layout.nothing_yet(Rows(torch.zeros(len(row), dtype=torch.int64)))
        start = at == 0
        last = Transition(*(_where(start, new[:, None], old) for new, old in zip(none, before, strict=True)))
        tokens = layout.token(steps.obs[b, at], last)
        device = self.workers.device
        return tokens.to(device), self.label(found)[b, at].to(device), inside.float().to(device)

    def _choices(self, length: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Places where a window may begin."""
        return (length - self.width + self.width // 2 + 1).clamp(min=1).float()

    def _loss(
        self, tokens: Tensor, label: Tensor, weight: Float[Tensor, "b W"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The mean negative log-likelihood in nats, and that of labels which are the likeliest action."""
        with self.workers.autocast():
            out = self.policy(tokens).out.float()
        log_prob, _ = self.policy.actions.log_prob_and_entropy(out, label)
        said = self.policy.actions.decide(out.detach().flatten(0, 1), None).action.view_as(label)
        same = (said == label).flatten(2).all(-1) if label.dim() > 2 else said == label
        return -(log_prob * weight).sum() / weight.sum(), (same * weight).sum() / weight.sum()

    def agent(self) -> InContext:
        """The policy as trained so far (it shares the learner's weights; copy it to keep it)."""
        count = sum(p.numel() for p in self.policy.parameters())
        card = Card(
            method=self.method, supervision=self.supervision, selection_rule="last", params_total=count,
            params_trained=count,
        )  # fmt: skip
        return InContext(self.policy, card)


def _where(here: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(here.view(*here.shape, *[1] * (old.dim() - 2)), new, old)
