"""LoRA meta-training of a language model: it learns to act from histories of good learners.

It is ``llm_adapt/icl_ad.py`` (algorithm distillation, Laskin et al. 2022) for a pretrained model: histories of Thompson
sampling, UCB and Bayes-optimal play on training tasks become prompts, and the likelihood of each next action's label is
raised, as in supervised fine-tuning. Only an adapter is trained (Hu et al. 2021).

    loss = - mean over some steps of log p(label of the action | prompt of the step)

The prompts of a history are one tree of tokens (``llm_adapt/language/token_tree.py``), so that what they share is read
once. With a format that rewrites, such as a summary, a few steps of each history are drawn; with one that appends, all
steps cost little more than the last.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import datasets
import torch
from jaxtyping import Bool
from torch import Tensor

from bridge import memory as tree
from bridge.config import Count, CountOrZero, Positive, Width
from bridge.protocol import Trial
from bridge.rng import Rows
from bridge.tasks.bandit import Bandit
from bridge.test_time.trial_buffer import live_first
from bridge.training.search_space import LogUniform, Space
from llm_adapt import data, imitation
from llm_adapt.histories import as_trials
from llm_adapt.imitation import ImitationLearner, Means
from llm_adapt.language.adapter import Adapted
from llm_adapt.language.models import load
from llm_adapt.language.prompter import Prompter
from llm_adapt.language.reading import score
from llm_adapt.prompted import Prompted, Prompting, card_of


@dataclass(frozen=True, kw_only=True)
class Config(imitation.Imitating, Prompting):
    """Model, prompts, adapter, histories and training."""

    display_name: ClassVar[str] = "LoRA meta-training"

    rank: Width = 8
    """Rank r of the adapter."""
    alpha: Count = 16
    """Scale of its updates, times r."""
    targets: str = ""
    """Ends of the names of adapted modules, joined by +; empty: queries and values of attention."""
    predicted: CountOrZero = 0
    """Steps of each history whose actions are predicted, drawn at random; 0: all."""
    steps_per_update: Count = 1_000
    """Environment steps of each new shard, in whole histories, of which there is at least one."""
    passes: Positive = 1.0
    """Mean number of times that each step is trained on, if all steps are predicted."""
    batch: Count = 500
    """Steps of each gradient step, in whole histories."""
    lr: Positive = 1e-3
    """Learning rate of AdamW at its highest."""


@dataclass(frozen=True, kw_only=True)
class SmolLm2(Config):
    """SmolLM2, prompts, adapter, histories and training."""

    model: str = "smollm2"


SPACE: Space = {"lr": LogUniform(1e-4, 3e-3)}
"""Search space: neither the model nor the format, which make other methods."""


class PromptedAdLearner(ImitationLearner):
    """Maximum likelihood of labels after prompts."""

    method = "prompted_lora_ad"
    supervision = "histories"

    def _new_policy(self) -> Adapted:
        config = self.config
        language = load(config.model)
        self.renderer = config.renderer(self.family)
        prompter = Prompter(language, self.renderer)
        prompter.longest(self.family.trial("train"))  # refuses too long a trial before training
        adapted = Adapted(language, rank=config.rank, alpha=config.alpha, targets=config.targets)
        return adapted.to(self.workers.device)

    def _sources(self) -> tuple[str, ...]:
        if isinstance(self.family, Bandit):
            return ("thompson", "ucb1", "bayes")
        return super()._sources()

    def _episodes(self, trial: Trial) -> int:
        return trial.episodes

    @property
    def width(self) -> int:
        trial = self.collection.trial
        return trial.episodes * trial.horizon

    def _loss_on(self, pool: datasets.Dataset, noise: Rows) -> Means:
        """The mean over predicted steps of the negative log-likelihood of whole labels in nats, and the share of labels
        that are the likeliest one."""
        buffer = as_trials(data.drawn(pool, noise), self.collection.trial)
        predicted = some_steps(buffer.live, self.config.predicted, noise.at("predicted"))
        prompter, device = Prompter(self.policy.language, self.renderer), self.workers.device
        with self.workers.autocast():
            trees = prompter.trees(buffer, predicted, self.family.trial("train"))
            scores = score(self.policy.language.model, trees.to(device))
        places = live_first(predicted.flatten(1))
        label = tree.places(buffer.action.flatten(1), places).to(device)
        there = tree.places(predicted.flatten(1), places).to(device)
        log_prob = scores.gather(-1, label[..., None]).squeeze(-1)
        hits, count = scores.argmax(-1) == label, there.sum()
        return -(log_prob * there).sum() / count, (hits & there).sum() / count

    def agent(self) -> Prompted:
        """A copy of the model with the adapter as trained so far."""
        language = self.policy.merged()
        trained = sum(weights.numel() for weights in self.policy.parameters())
        card = dataclasses.replace(
            card_of(language, self.renderer, self.method),
            supervision=self.supervision,
            selection_rule="last",
            params_trained=trained,
        )
        return Prompted(language, self.renderer, card)


def some_steps(live: Bool[Tensor, "b E H"], count: int, noise: Rows) -> Bool[Tensor, "b E H"]:
    """True for ``count`` live steps of each trial, drawn with equal chances; 0, or too few steps: for all of them."""
    if not count:
        return live
    u = torch.where(live.flatten(1), noise.uniform(live[0].numel()), -1.0)
    order = u.argsort(1, descending=True)
    chosen = torch.zeros_like(live.flatten(1)).scatter(1, order[:, :count], True)
    return (chosen & live.flatten(1)).view_as(live)
