"""Pretraining on histories: at every step, raise the likelihood of a label given all that was known by then.

    loss = - mean over steps of log pi(label_t | token_0..t),    token_t = (state_t, transition_{t-1})

Which state is asked about and what the label is makes the method: the state come to and the source's own action
(``llm_adapt/icl_ad.py``), or any state and the oracle's action in it (``llm_adapt/icl_dpt.py``). Histories come shard
by shard (``llm_adapt/data.py``); each of their steps is an environment step paid for once and read several times, in
windows (``llm_adapt/windows.py``).

Shape letters: b windows of a step, T steps of a history, W of a window, A numbers that a distribution is made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import datasets
import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridge import spaces
from bridge.errors import UserError
from bridge.protocol import Card
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily
from bridge.training.learner import CheckpointedLearner, seeded_init
from bridge.training.search_space import Choice, LogUniform, Space
from bridge.training.workers import Workers
from llm_adapt import data
from llm_adapt.histories import Histories, default_sources
from llm_adapt.in_context import InContext
from llm_adapt.policy import Decoder
from llm_adapt.windows import Windows, cut


@dataclass(frozen=True, kw_only=True)
class Config(Decoder):
    """How the policy is built and trained, and on what."""

    display_name: ClassVar[str] = "Imitation"

    distribution: spaces.Distribution = "clipped_gaussian"
    """Of actions, where these fill a box: a Beta cannot be fitted to who often does his utmost."""
    data: str = ""
    """The folder of a collection (``metabridge data``): who makes the histories, and how many, is settled then."""
    sources: str = ""
    """Who makes the histories, joined by +: ``psrl+random``; empty: the family's own choice."""
    episodes: int = 0
    """Of each history; 0: as many as a trial has, or as fill two windows, at full length, where these are fewer."""
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
        self.check_numbers("1 or more", "steps_per_update", "batch")
        self.check_numbers("0 or more", "episodes", "weight_decay")
        if self.data and (self.sources or self.episodes):
            raise UserError(
                f"{self.display_name}: data={self.data} settles sources and episodes. Leave these out."
            )
        self.check_numbers("above 0", "lr", "max_grad_norm", "passes")
        self.check_numbers("from 0 to 1", "warm_up")


SPACE: Space = {
    "lr": LogUniform(3e-4, 3e-3),
    "passes": Choice((2.0, 4.0, 8.0)),
    "batch": Choice((2_048, 4_096, 8_192)),
    "weight_decay": LogUniform(1e-5, 1e-1),
}
"""What is tuned: not the decoder nor the data, which are other methods."""


class ImitationLearner(CheckpointedLearner):
    """Maximum likelihood on a growing pool of histories."""

    checkpointed = ("policy", "optimizer")
    method: ClassVar[str]
    supervision: ClassVar[str]

    def __init__(
        self, family: TaskFamily, config: Config, *, seed: int, workers: Workers | None = None
    ) -> None:
        self.family, self.config, self.seed, self.workers = (
            family,
            config,
            seed,
            workers or Workers(),
        )
        self.pool: list[datasets.Dataset] = []
        with seeded_init(seed):
            self.policy = config.policy(family).to(self.workers.device)
        self.optimizer = torch.optim.AdamW(
            self.policy.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )

    @cached_property
    def collection(self) -> data.Collection:
        """What is read: the collection that was given, or the family's own. Who only plays needs none."""
        config, family = self.config, self.family
        if config.data:
            return _for_training(data.Collection.opened(Path(config.data), family))
        whole = family.trial("train")
        episodes = config.episodes or min(whole.episodes, -(-2 * config.window // whole.horizon))
        sources = (
            tuple(config.sources.split("+"))
            if config.sources
            else default_sources(self.method, family)
        )
        rows = max(1, config.steps_per_update // (episodes * whole.horizon))
        return data.Collection(family, sources, seed=self.seed, episodes=episodes, rows=rows)

    @property
    def width(self) -> int:
        """W: that of attention, but no longer than a history."""
        return min(
            self.config.window, self.collection.trial.episodes * self.collection.trial.horizon
        )

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """One more shard, then some steps on windows of all that there are."""
        config, left = self.config, max(0.0, 1 - spent)
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * min(
                left, (spent + 1e-3) / config.warm_up if config.warm_up else left
            )
        self._check_supply(spent)
        while len(self.pool) <= self.updates:
            self.pool.append(self.collection.shard(len(self.pool)))
        fresh = sum(self.pool[self.updates]["length"])
        pool = datasets.concatenate_datasets(self.pool)
        count = max(1, config.batch // (self.width * self.workers.count))
        steps = max(1, round(config.passes * fresh / (count * self.width * self.workers.count)))
        sums = {"loss": 0.0, "hits": 0.0}
        for _ in range(steps):
            rows = self.workers.rows(self.grad_steps, count).cpu()  # windows are cut where data lie
            noise = Rows.of(f"learn/{self.method}/{self.seed}", rows)
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

    def _check_supply(self, spent: float) -> None:
        """Say soon, not at the end, that what was given will not last."""
        supply, needed = self.collection.steps, self.env_steps / spent if spent else 0
        if supply is not None and needed > supply:
            raise UserError(
                f"{self.collection.folder} holds {supply:,} steps, and this budget would need about {needed:,.0f}. "
                "Make more by the command that made it with a higher --shards, or lower the budget."
            )

    def questions(self, histories: Histories) -> tuple[Tensor, Tensor]:
        """Which state each step asks about, and what is to be said there; both ``[b, T, ...]``."""
        raise NotImplementedError

    def _windows(self, pool: datasets.Dataset, noise: Rows) -> Windows:
        """One of each of some histories."""
        row = (noise.at("row").uniform().double() * len(pool)).long().tolist()
        found = data.read(pool, row, self.family)
        windows = cut(
            found, *self.questions(found), self.width, self.policy.layout, noise.at("first")
        )
        return Windows(*(part.to(self.workers.device) for part in windows))

    def _loss(
        self, tokens: Tensor, label: Tensor, weight: Float[Tensor, "b W"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The mean negative log-likelihood in nats, and that of labels which are the likeliest action."""
        with self.workers.autocast():
            out = self.policy(tokens).out.float()
        return nll_and_accuracy(self.policy.actions, out, label, weight)

    def agent(self) -> InContext:
        """The policy as trained so far (it shares the learner's weights; copy it to keep it)."""
        count = sum(p.numel() for p in self.policy.parameters())
        card = Card(
            method=self.method,
            supervision=self.supervision,
            selection_rule="last",
            params_total=count,
            params_trained=count,
        )
        return InContext(self.policy, card)


def _for_training(found: data.Collection) -> data.Collection:
    """A collection of training tasks: others are kept for who is evaluated.

    Raises:
        UserError: it is of another split.
    """
    if found.definition.split != "train":
        raise UserError(
            f"{found.folder} holds histories on {found.definition.split}, and learners read those on train alone. Make "
            f"others: metabridge data SOURCES --family {found.family.id} --out FOLDER"
        )
    return found


def nll_and_accuracy(
    actions: spaces.Actions,
    out: Float[Tensor, "b W A"],
    label: Tensor,
    weight: Float[Tensor, "b W"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The mean negative log-likelihood of labels in nats, and the share of those that are the likeliest action."""
    log_prob, _ = actions.log_prob_and_entropy(out, label)
    said = actions.decide(out.detach().flatten(0, 1), None).action.view_as(label)
    same = (said == label).flatten(2).all(-1) if label.dim() > 2 else said == label
    return -(log_prob * weight).sum() / weight.sum(), (same * weight).sum() / weight.sum()
