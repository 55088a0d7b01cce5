"""In-context RL from online trials: RL²'s objective with attention in place of recurrence.

Duan et al. 2016 (arXiv 1611.02779) with the memory of Mishra et al. 2018 (arXiv 1707.03141) and Melo 2022 (arXiv
2206.06614): the policy reads its own trial, a token a step, and is trained by PPO on the return of the whole trial. It
is the mirror of ``rl_algos/rl2.py``, with the same learner (``bridge/training/trial_ppo.py``), so that only the memory
differs.

Deviations from these papers:
 1. A plain causal decoder, without convolutions between its attention layers and without a memory of segments.
 2. PPO with clipped ratios on the trial's return; standardised advantages; the critic's targets are standard scores.
 3. A token holds the whole last transition (``llm_adapt/tokens.py``), of which RL² reads action, reward and end.
 4. The critic shares the decoder by default, and may be given the task in training (``critic="task"``); the policy
    never is.
 5. The learning rate rises at first and then falls linearly to zero over the budget. The entropy bonus falls likewise.
 6. Trials may be cut to fewer episodes in training (``episodes``); the agent is then evaluated on whole ones.

Shape letters: T steps of a trial, B trials, A actions, F task features, D features of a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from bridge.config import Depth, Share
from bridge.rng import Rows
from bridge.training import trial_ppo
from bridge.training.learner import trained_card
from bridge.training.rollouts import Batch
from bridge.training.search_space import LogUniform, Space
from bridge.training.trial_ppo import Evaluation, PpoConfig, TrialPpoLearner
from llm_adapt.in_context import InContext
from llm_adapt.policy import Decoder, TransformerPolicy
from llm_adapt.tokens import Layout, Transition


@dataclass(frozen=True, kw_only=True)
class Config(PpoConfig, Decoder):
    """Policy and training of in-context RL."""

    display_name: ClassVar[str] = "In-context RL"

    layers: Depth = 2
    window: int = 1024
    warm_up: Share = 0.02  # ty: ignore[incompatible-attribute-override] - here it is a field
    """Share of the budget in which the learning rate rises to its highest."""


SPACE: Space = {"lr": LogUniform(3e-4, 3e-3), **trial_ppo.SPACE}
"""Search space: neither the decoder nor the critic's input, which make other methods."""


class IclRlLearner(TrialPpoLearner):
    """PPO on trials, as RL²'s learner."""

    checkpointed = ("policy", "critic", "scale", "optimizer")
    playing = ("policy",)
    noise_name = "icl_rl"
    config: Config

    def _networks(self, task_features: int) -> list[nn.Parameter]:
        device = self.workers.device
        self.policy = self.config.policy(self.family).to(device)
        self.critic = new_critic(self.policy, task_features).to(device)
        return [*self.policy.parameters(), *self.critic.parameters()]

    def _evaluate(self, batch: Batch) -> Evaluation:
        with self.workers.autocast():
            by_trial = self.policy.hidden(tokens_of(batch, self.policy.layout))
            hidden, out = by_trial.transpose(0, 1), self.policy.actor(by_trial).transpose(0, 1)
            score = self.critic(self._critic_input(hidden, batch)).squeeze(-1)
        log_prob, entropy = self.policy.actions.log_prob_and_entropy(out.float(), batch.action)
        return Evaluation(log_prob, entropy, score.float())

    def agent(self) -> InContext:
        card = trained_card("icl_rl", self.policy.parameters(), supervision=self.config.supervision)
        return InContext(self.policy, card)


def new_critic(policy: TransformerPolicy, task_features: int = 0) -> nn.Sequential:
    """A critic with one hidden layer on the decoder's last hidden states and ``task_features`` numbers of a task."""
    width = policy.config.backbone_config.hidden_size
    return nn.Sequential(nn.Linear(width + task_features, width), nn.ReLU(), nn.Linear(width, 1))


def tokens_of(batch: Batch, layout: Layout) -> Float[Tensor, "B T D"]:
    """The tokens of whole trials."""
    rows = Rows.without_draws(batch.reward[0])
    by_trial = (getattr(batch, name).transpose(0, 1) for name in Transition._fields)
    return layout.trial(Transition(*by_trial), layout.nothing_yet(rows))
