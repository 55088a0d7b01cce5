"""PEARL (Rakelly et al. 2019, arXiv 1903.08254): soft actor-critic given a latent that is drawn from what is known.

    q(z | context) = N(0, I) * product over transitions of N(mu(s, a, r, s'), sigma(s, a, r, s')^2),    a ~ pi(a | s, z)

A latent is drawn at the start of an episode and kept until its end, so that exploration is posterior sampling: the
agent acts as if the task were the one that it has drawn. Its memory is two running sums (``rl_algos/pearl_agent.py``,
``rl_algos/posterior.py``).

Deviations from the paper:
 1. The prior is one factor of the product. So the posterior without a context is the prior, and a factor can only
    sharpen it. (The paper has no such factor: its first posterior is the first transition's factor alone.)
 2. A factor is parameterised by its mean and its precision (the paper: variance), which starts small: hundreds of
    factors must not outweigh the prior before anything is learned.
 3. s' is always an input of a factor: nothing else distinguishes tasks that differ in their dynamics alone.
 4. Contexts in training are the first episodes, from none to all, of recent rollouts on the task, as the contexts at
    play are. (The paper: a fixed number of recent transitions.) A product of many factors is overconfident unless it
    was trained at that length.
 5. The weight of the divergence is that of a mean over tasks, and the critics' errors are divided by the variance of
    their targets. (The paper adds a sum over tasks to a mean, so that the meaning of the weight depends on the number
    of tasks in a gradient step and on the size of returns.)
 6. Several contexts of a task, each with a latent and transitions of its own, share one pass of the encoder.
 7. Target critics replace the target value network; the temperature is learned; gradients are clipped; the learning
    rate falls to zero over the second half of the budget.
 8. Rewards are divided by the size of the largest reward that training has seen on any task.
 9. An agent that repeats random actions (``rl_algos/explorer.py``) plays further episodes on each task, which enter no
    context; and a share of the transitions to learn from may be drawn from those with good rewards (``good_share``).
    The first finds goals that no latent leads to yet, the second spreads them.
 10. Actions may be discrete: the expectation over them is a sum.
 11. The frozen agent samples its actions, as in training (the paper evaluates means).

The encoder learns from the critics' loss and from the divergence from the prior, not from the actor's loss, which has z
as a constant. On sparse rewards the authors' critics learn from dense ones (``critic_reward="dense"``); contexts always
hold the task's own rewards.

Shape letters: D size of the latent, T transitions, n tasks of one gradient step, c contexts of each, b transitions for
each context, F action features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.config import (
    Bounded,
    Count,
    CountOrZero,
    NonNegative,
    Positive,
    PositiveShare,
    Share,
    Width,
)
from bridge.errors import UserError
from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Clues, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily, Tasks
from bridge.training.learner import descend, trained_card
from bridge.training.search_space import Choice, LogUniform, Space
from bridge.transitions import stacked
from rl_algos.explorer import Explorer
from rl_algos.off_policy import OffPolicyLearner
from rl_algos.pearl_agent import Network, Pearl
from rl_algos.posterior import Posterior
from rl_algos.replay import Replay
from rl_algos.transitions import Transitions

_VARIANCE_SHARE = 0.01
"""Weight of the newest value in a running variance."""
_LEAST_VARIANCE = 1e-6
"""Scaled returns of a smaller variance count as equal."""


@dataclass(frozen=True, kw_only=True)
class Config(Bounded):
    """Networks and training of PEARL."""

    display_name: ClassVar[str] = "PEARL"

    latent: Width = 8
    """Size of z."""
    hidden: Width = 96
    """Units of each of two hidden layers of actor and critics."""
    encoder_hidden: Width = 64
    """Units of each of two hidden layers of the encoder."""
    critic_reward: Literal["own", "dense"] = "own"
    """Reward that critics learn from: the task's own, or the family's dense one (in training only)."""
    train_tasks: Count = 100
    """Number of training tasks if the family has a continuum of them; of a finite list all are used."""
    collect_tasks: CountOrZero = 0
    """Tasks played between updates, in turn; 0: 24, or fewer if their episodes are long."""
    episodes: Count = 12
    """Episodes played on each of them, at most as many as a trial has."""
    prior_episodes: Count = 1
    """Number of these that are played with a latent from the prior; the others have one from the posterior."""
    scout_episodes: CountOrZero = 4
    """Further episodes on each of them, by an agent that repeats random actions: for actor and critics, no context."""
    steps_per_grad: Positive = 10.0
    """Environment steps for each gradient step."""
    meta_batch: Count = 12
    """Tasks of each gradient step."""
    recent: Count = 8
    """Recent rollouts of each task that are kept as encoder context. Fewer: closer to on-policy, but the encoder
    overfits sooner."""
    contexts: Count = 4
    """Contexts of each of these tasks: beginnings of one rollout, which is encoded once."""
    batch: Count = 16
    """Transitions of the task for actor and critics, for each context."""
    good_share: Share = 0.0
    """Share of these that are drawn from transitions with a reward above the task's mean. It helps if rewards are
    sparse; if they are noisy, it mistakes luck for value."""
    capacity: Count = 5_000
    """Most transitions of each task in the replay buffer."""
    lr: Positive = 1e-3
    """Learning rate of Adam; it falls linearly to zero over the second half of the budget."""
    gamma: Share = 0.95
    """Discount a step."""
    kl_weight: NonNegative = 0.0003
    """Weight of the divergence of q(z | context) from the prior, in nats (mean over tasks), beside the critics' squared
    errors (mean over tasks and transitions) in units of the variance of their targets."""
    target_share: PositiveShare = 0.01
    """Share of the way to the critics that the target critics move at each gradient step."""
    temperature: Positive = 0.01
    """Weight of the entropy at the start, beside scaled rewards."""
    entropy_share: Share = 0.2
    """Discrete actions: target of the entropy, as a share of the entropy of random play."""
    entropy_per_side: float = -0.5
    """Continuous actions: target of the entropy, in nats a dimension, for an action space scaled to [-1, 1]."""
    actor_gain: NonNegative = 3.0
    """Scale of the actor's last layer at the start; from about 0.1 on, initial policies differ between latents."""
    max_grad_norm: Positive = 10.0
    """Gradients are scaled down to this norm."""


SPACE: Space = {
    "lr": LogUniform(3e-4, 3e-3),
    "gamma": Choice((0.9, 0.95, 0.99)),
    "kl_weight": LogUniform(1e-4, 1e-2),
    "target_share": Choice((0.005, 0.01, 0.02)),
    "entropy_share": Choice((0.05, 0.1, 0.2, 0.4)),
    "entropy_per_side": Choice((-2.0, -1.0, -0.5)),
    "steps_per_grad": Choice((5.0, 10.0, 20.0)),
}
"""Search space: neither the sizes of the networks nor the critics' reward, which make other methods."""


def _enough(steps: int) -> int:
    """The number of tasks that are played between updates: 24, or as many as take 8,000 steps, of ``steps`` each.

    An update of long episodes would otherwise take minutes, in which a training neither tells how far it is nor stops.
    """
    return max(1, min(24, 8_000 // steps))


class PearlLearner(OffPolicyLearner):
    """Soft actor-critic on replayed transitions, with an encoder of recent ones."""

    checkpointed = ("network", "replay", "recent")
    playing = ("network",)
    config: Config

    def _build(self) -> None:
        super()._build()
        family, config, device = self.family, self.config, self.workers.device
        if config.critic_reward == "dense" and type(family).dense_reward is TaskFamily.dense_reward:
            raise UserError(f"{family.id} has no dense reward. Train with critic_reward=own.")
        whole = family.trial("train")
        self.trial = Trial(min(config.episodes, whole.episodes), whole.horizon)
        self.tasks = family.support("train") or config.train_tasks
        steps = (self.trial.episodes + config.scout_episodes) * whole.horizon
        self.together = min(config.collect_tasks or _enough(steps), self.tasks)
        self.network = Network(
            family,
            latent=config.latent,
            hidden=config.hidden,
            encoder_hidden=config.encoder_hidden,
            temperature=config.temperature,
            actor_gain=config.actor_gain,
        ).to(device)

        def buffer(tasks: int, capacity: int) -> Replay:
            return Replay(
                family.observation, family.action, tasks=tasks, capacity=capacity, device=device
            )

        steps, rollouts = self.trial.episodes * self.trial.horizon, self.tasks * config.recent
        self.replay = buffer(self.tasks, config.capacity)
        self.recent = buffer(rollouts, steps)
        """The recent rollouts of each task, a ring each."""
        self.ends = torch.zeros(rollouts, self.trial.episodes + 1, dtype=torch.int64, device=device)
        """Transitions in each recent rollout after 0, 1, ... episodes."""
        soft, encoder = self.network.soft, self.network.encoder
        critic_side = [*soft.critic.parameters(), *encoder.parameters()]
        self.optimizers = [
            torch.optim.Adam(parameters, lr=config.lr, fused=True)
            for parameters in (critic_side, soft.actor.parameters(), [soft.log_temperature])
        ]
        """Of critics and encoder, of the actor, and of the temperature."""

    def agent(self) -> Pearl:
        """The agent as trained so far (it shares the learner's weights; copy it to keep it)."""
        trained = [*self.network.encoder.parameters(), *self.network.soft.actor.parameters()]
        own = self.config.critic_reward == "own"
        supervision = "reward" if own else "reward, dense in critic"
        return Pearl(self.network, trained_card("pearl", trained, supervision=supervision))

    def state_dict(self) -> dict[str, Any]:
        """Everything that a restart needs, the replay buffers included."""
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return super().state_dict() | {"optimizers": optimizers, "ends": self.ends}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a ``state_dict``."""
        super().load_state_dict(state)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.ends.copy_(state["ends"])

    # --- playing -----------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def _play(self) -> dict[str, float]:
        """Play the next tasks with the agent itself, and store all steps. Returns the mean returns of the first and the
        last episode."""
        family, device = self.family, self.workers.device
        number = self.updates * self.together + torch.arange(self.together, device=device)
        turn, before = number % self.tasks, number // self.tasks
        recent = turn * self.config.recent + before % self.config.recent
        noise = TrialNoise.of(f"train/pearl/{self.seed}", turn).at(self.updates)
        tasks = family.sample("train", self._task_index(turn))
        agent, scout = self.agent(), Explorer(family.action)
        own = noise.agent.at("start")
        known = agent.start(Clues(), self.trial, own)
        self.recent.clear(recent)
        returns = []
        for episode in range(self.trial.episodes):
            prior = episode < self.config.prior_episodes
            memory = agent.start(Clues(), self.trial, own) if prior else known
            memory, played, rows, live = self._episode(agent, tasks, memory, noise, episode)
            known = agent.absorb(known, played) if prior else memory
            self.replay.add(turn, rows, live)
            self.recent.add(recent, rows, live)
            self.ends[recent, episode + 1] = self.recent.written[recent]
            returns.append(rows.reward.sum().item() / len(turn))
        for episode in range(self.config.scout_episodes):
            memory = scout.start(Clues(), self.trial, own)
            _, _, rows, live = self._episode(scout, tasks, memory, noise.at("scout"), episode)
            self.replay.add(turn, rows, live)
        return {"first_return": returns[0], "last_return": returns[-1]}

    def _episode(
        self, agent: Pearl | Explorer, tasks: Tasks, memory: Any, noise: TrialNoise, episode: int
    ) -> tuple[Any, list[Step], Transitions, Bool[Tensor, "n T"]]:
        """Play one episode and count its steps; returns the memory, the steps, and these as transitions for replay."""
        family, network = self.family, self.network
        steps: list[Step] = []
        memory, _ = play_episode(
            agent,
            family,
            tasks,
            memory,
            noise,
            episode=episode,
            horizon=self.trial.horizon,
            visit=lambda _t, step, _decision: steps.append(step),
        )
        played, dense = stacked(steps), None
        if self.config.critic_reward == "dense":
            rewards = (family.dense_reward(tasks, step) for step in steps)
            dense = torch.stack([reward for reward in rewards if reward is not None], 1)
        rows, live = Transitions.of(played, dense), played.live
        self.env_steps += int(live.sum())
        for largest, reward in (
            (network.largest, rows.reward),
            (network.largest_judged, rows.critic_reward),
        ):
            largest.copy_(torch.maximum(largest, reward[live].abs().max()))
        return memory, steps, rows, live

    def _task_index(self, turn: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Task numbers: those of the finite list, or numbers of a continuum that depend on the seed."""
        if self.family.support("train"):
            return turn
        return Rows.of(f"train/pearl/{self.seed}/tasks", turn).bits() & ((1 << 62) - 1)

    # --- learning ----------------------------------------------------------------------------------------------------
    def _learn(self) -> dict[str, float]:
        """One step of every optimiser, on some of the tasks that were played."""
        config, soft = self.config, self.network.soft
        critic_side, actor, temperature = self.optimizers
        played = min(self.tasks, self.updates * self.together)
        rows = torch.arange(played, device=self.workers.device)
        order = Rows.of(self.seed, rows).at("order", self.grad_steps).uniform().argsort()
        task = order[: config.meta_batch]
        noise = Rows.of(f"learn/pearl/{self.seed}", rows[: len(task)]).at(self.grad_steps)
        batch = self._batch(task, noise.at("batch"))
        with self.workers.autocast():
            posterior = self._posteriors(task, noise.at("context"))
            z = posterior.draw(noise.at("z").normal(config.contexts, config.latent))
            condition = z[:, :, None].expand(-1, -1, config.batch, -1)
            constant, alpha = condition.detach(), soft.temperature()
            next_noise, actor_noise = (
                soft.action_noise(noise.at(name), config.contexts, config.batch)
                for name in ("target", "actor")
            )
            target = soft.targets(batch, constant, next_noise, config.gamma)
            error = soft.critic_loss(batch, condition, target).mean() / self._variance(target)
            kl = posterior.divergence().mean()
            critic_norm = self._step(critic_side, error + config.kl_weight * kl)
            value, entropy = soft.soft_value(soft.critic, batch.obs, constant, actor_noise)
            actor_norm = self._step(actor, -value.mean())
            temperature_loss = soft.temperature_loss(entropy, self.entropy_target).mean()
            self._step(temperature, temperature_loss)
        soft.follow(config.target_share)
        self.grad_steps += 1
        metrics = {
            "loss_critic": error,
            "kl": kl,
            "value": value.mean(),
            "entropy": entropy.mean(),
            "temperature": alpha,
            "grad_norm": critic_norm + actor_norm,
        }
        values = torch.stack([value.detach().float() for value in metrics.values()]).tolist()
        return dict(zip(metrics, values, strict=True))

    def _batch(self, task: Int[Tensor, " n"], noise: Rows) -> Transitions:
        """Transitions of each task as features, others for each of its contexts: ``[n, c, b, ...]``."""
        contexts, batch = self.config.contexts, self.config.batch
        count = contexts * batch
        good = round(self.config.good_share * count)
        rows = self.network.features(self.replay.draw(task, count, noise, good=good))
        by_context = (part.unflatten(1, (batch, contexts)).transpose(1, 2) for part in rows)
        return Transitions(*by_context)

    def _posteriors(self, task: Int[Tensor, " n"], noise: Rows) -> Posterior:
        """Posteriors given beginnings, of any number of episodes, of a recent rollout of each task: ``[n, c, D]``."""
        rollouts = (self.updates * self.together - task - 1) // self.tasks + 1
        rollouts = rollouts.clamp(max=self.config.recent)
        ring = task * self.config.recent + (noise.at("time").uniform() * rollouts).to(torch.int64)
        rows = self.recent.first(ring)
        count = self.ends[ring].gather(1, noise.integers(self.ends.shape[1], self.config.contexts))
        return self.network.factors(rows).beginnings(count).posterior()

    @torch.no_grad()
    def _variance(self, target: Float[Tensor, "n c b"]) -> Float[Tensor, ""]:
        """The running variance of the critics' targets, these included."""
        share = max(_VARIANCE_SHARE, 1 / (self.grad_steps + 1))
        self.network.variance.lerp_(target.var(correction=0), share)
        return self.network.variance.clamp(min=_LEAST_VARIANCE)

    def _step(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
        """One step of one optimiser, on its own parameters only; returns the gradient's norm."""
        parameters = optimizer.param_groups[0]["params"]
        return descend(loss, optimizer, parameters, self.config.max_grad_norm, self.workers)
