"""Pretraining on histories: at every step, raise the likelihood of a label given all that was known by then.

    loss = - mean over steps of log pi(label_t | token_0..t),    token_t = (state_t, transition_{t-1})

Methods differ in the query states and their labels: the state of the step and the source's own action
(``llm_adapt/icl_ad.py``), or any state and the oracle's action in it (``llm_adapt/icl_dpt.py``). Histories come in
shards (``llm_adapt/data.py``). Each of their steps is an environment step that is paid for once and trained on several
times, in windows (``llm_adapt/windows.py``).

Shape letters: b windows of a gradient step, T steps of a history, W of a window, D features of a
token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import datasets
import torch
from jaxtyping import Float
from torch import Tensor

from bridge import spaces
from bridge.config import Bounded, Count, CountOrZero, NonNegative, Positive, Share
from bridge.errors import UserError
from bridge.protocol import Trial
from bridge.rng import Rows
from bridge.training.learner import (
    CheckpointedLearner,
    descend,
    mean_metrics,
    set_learning_rate,
    share_of_rate,
    trained_card,
)
from bridge.training.search_space import Choice, LogUniform, Space
from llm_adapt import data
from llm_adapt.histories import Histories, default_sources
from llm_adapt.in_context import InContext
from llm_adapt.policy import Decoder, TransformerPolicy
from llm_adapt.windows import Windows, cut

Means = tuple[Float[Tensor, ""], Float[Tensor, ""]]
"""The mean negative log-likelihood of labels in nats, and the share of labels that are the likeliest action."""


@dataclass(frozen=True, kw_only=True)
class Imitating(Bounded):
    """Histories, and gradient steps on them."""

    data: str = ""
    """The folder of a collection (``metabridge data``), or a Minari dataset (``minari:NAME-v0``); both fix sources,
    episodes and number of histories."""
    sources: str = ""
    """Sources of the histories, joined by +: ``psrl+random``; empty: the family's default."""
    episodes: CountOrZero = 0
    """Episodes of each history; 0: as many as a trial has, or as fill two windows if these are fewer."""
    steps_per_update: Count = 20_000
    """Environment steps of each new shard, in whole histories, of which there is at least one."""
    passes: Positive = 4.0
    """Mean number of times that each step is trained on."""
    batch: Count = 4_096
    """Steps of each gradient step, in windows."""
    lr: Positive = 1e-3
    """Learning rate of AdamW at its highest."""
    warm_up: Share = 0.02
    """Share of the budget in which the learning rate rises to its highest; then it falls linearly to zero."""
    weight_decay: NonNegative = 1e-4
    """Weight decay of AdamW."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this norm."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data and (self.sources or self.episodes):
            raise UserError(
                f"{self.display_name}: data={self.data} fixes sources and episodes. Leave these out."
            )


@dataclass(frozen=True, kw_only=True)
class Config(Imitating, Decoder):
    """Policy, histories and training."""

    display_name: ClassVar[str] = "Imitation"

    distribution: spaces.Distribution = "clipped_gaussian"
    """Of actions in a box. A Beta cannot be fitted to actions that often lie on the bounds of the box."""


SPACE: Space = {
    "lr": LogUniform(3e-4, 3e-3),
    "passes": Choice((2.0, 4.0, 8.0)),
    "batch": Choice((2_048, 4_096, 8_192)),
    "weight_decay": LogUniform(1e-5, 1e-1),
}
"""Search space: neither the decoder nor the data, which make other methods."""


class ImitationLearner(CheckpointedLearner):
    """Maximum likelihood on a growing pool of histories."""

    checkpointed = ("policy", "optimizer")
    playing = ("policy",)
    method: ClassVar[str]
    supervision: ClassVar[str]
    config: Any

    def _build(self) -> None:
        self.pool: list[datasets.Dataset] = []
        self.policy = self._new_policy()
        self.optimizer = torch.optim.AdamW(
            self.policy.parameters(), lr=self.config.lr, weight_decay=self.config.weight_decay
        )

    def _new_policy(self) -> Any:
        """The module that is trained, or its trained part."""
        return self.config.policy(self.family).to(self.workers.device)

    @cached_property
    def collection(self) -> data.Shards:
        """The histories: the collection in ``config.data``, or the family's own. Not made until they are needed.

        Raises:
            UserError: the collection is not of training tasks, or lacks the oracle's actions that the method imitates.
        """
        config, family = self.config, self.family
        if config.data:
            made = data.opened(config.data, family, config.steps_per_update)
            another = f"metabridge data SOURCES --family {family.id} --out FOLDER"
            if made.split != "train":  # others are reserved for evaluation
                raise UserError(
                    f"{made.place} holds histories on {made.split}, and learners read those on train alone. Make "
                    f"others: {another}"
                )
            if self.supervision == "optimal_actions" and not made.optimal:
                raise UserError(
                    f"{self.method} imitates an oracle's actions, and {made.place} has only those of its source. Train "
                    f"icl_ad on it, or make others: {another}"
                )
            return made
        whole = family.trial("train")
        episodes = config.episodes or self._episodes(whole)
        sources = tuple(config.sources.split("+")) if config.sources else ()
        rows = max(1, config.steps_per_update // (episodes * whole.horizon))
        return data.Collection(
            family,
            sources or self._sources(),
            seed=self.seed,
            episodes=episodes,
            rows=rows,
        )

    def _sources(self) -> tuple[str, ...]:
        """Sources of the histories if none are named."""
        return default_sources(self.method, self.family)

    def _episodes(self, trial: Trial) -> int:
        """Episodes of a history: those of a trial, or as many as fill two windows if these are fewer."""
        return min(trial.episodes, -(-2 * self.config.window // trial.horizon))

    @property
    def width(self) -> int:
        """W: the window of attention, but at most the length of a history."""
        trial = self.collection.trial
        return min(self.config.window, trial.episodes * trial.horizon)

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """Add a shard to the pool, then take gradient steps on windows of all histories in it."""
        config = self.config
        set_learning_rate(self.optimizer, config.lr * share_of_rate(spent, config.warm_up))
        self._check_supply(spent)
        while len(self.pool) <= self.updates:
            self.pool.append(self.collection.shard(len(self.pool)))
        fresh = sum(self.pool[self.updates]["length"])
        pool = datasets.concatenate_datasets(self.pool)
        count = max(1, config.batch // (self.width * self.workers.count))
        steps = max(1, round(config.passes * fresh / (count * self.width * self.workers.count)))
        metrics = []
        for _ in range(steps):
            rows = self.workers.rows(self.grad_steps, count).cpu()  # data are on the CPU
            noise = Rows.of(f"learn/{self.method}/{self.seed}", rows)
            loss, accuracy = self._loss_on(pool, noise)
            parameters = list(self.policy.parameters())
            descend(loss, self.optimizer, parameters, config.max_grad_norm, self.workers)
            self.grad_steps += 1
            metrics.append({"loss": loss.item(), "hits": accuracy.item()})
        self.updates += 1
        self.env_steps += fresh
        return mean_metrics(metrics)

    def _check_supply(self, spent: float) -> None:
        """Refuse a collection that will not last for the budget, early rather than at its end.

        Raises:
            UserError: it holds too few steps.
        """
        supply, needed = self.collection.steps, self.env_steps / spent if spent else 0
        if supply is not None and needed > supply:
            raise UserError(
                f"{self.collection.place} holds {supply:,} steps, and this budget would need about {needed:,.0f}. "
                f"{self.collection.more}, or lower the budget."
            )

    def questions(self, histories: Histories) -> tuple[Tensor, Tensor]:
        """The query state of each step, and the label there; both ``[b, T, ...]``."""
        raise NotImplementedError

    def _windows(self, pool: datasets.Dataset, noise: Rows) -> Windows:
        """A window from each of some histories, drawn by ``noise``."""
        histories = data.drawn(pool, noise)
        state, label = self.questions(histories)
        windows = cut(histories, state, label, self.width, self.policy.layout, noise.at("first"))
        return Windows(*(part.to(self.workers.device) for part in windows))

    def _loss_on(self, pool: datasets.Dataset, noise: Rows) -> Means:
        """The loss, and the share of labels that are the likeliest action, on histories drawn by ``noise``."""
        return self._loss(*self._windows(pool, noise))

    def _loss(self, tokens: Tensor, label: Tensor, weight: Float[Tensor, "b W"]) -> Means:
        """``nll_and_accuracy`` of the policy."""
        with self.workers.autocast():
            return nll_and_accuracy(self.policy, tokens, label, weight)

    def agent(self) -> Any:
        """The policy as trained so far (it shares the learner's weights; copy it to keep it)."""
        card = trained_card(self.method, self.policy.parameters(), supervision=self.supervision)
        return InContext(self.policy, card)


def nll_and_accuracy(
    policy: TransformerPolicy,
    tokens: Float[Tensor, "b W D"],
    label: Tensor,
    weight: Float[Tensor, "b W"],
) -> Means:
    """The mean negative log-likelihood of labels in nats, and the share of labels that are the likeliest action.

    Args:
        policy: the policy.
        tokens: what it reads.
        label: the actions to be predicted, ``[b, W, ...]``.
        weight: of each label in the means.
    """
    out = policy(tokens).out.float()
    log_prob, _ = policy.actions.log_prob_and_entropy(out, label)
    likeliest = policy.actions.decide(out.detach().flatten(0, 1), None).action.view_as(label)
    same = likeliest == label
    if label.dim() > 2:
        same = same.flatten(2).all(-1)
    return -(log_prob * weight).sum() / weight.sum(), (same * weight).sum() / weight.sum()
