"""PEARL (Rakelly et al. 2019, arXiv 1903.08254): soft actor-critic given a latent that is drawn from what is known.

    q(z | context) = N(0, I) * product over transitions of N(mu(s, a, r, s'), sigma(s, a, r, s')^2),    a ~ pi(a | s, z)

A latent is drawn once an episode and kept for all of it, so that exploring is posterior sampling: act as if the task
were the one that was drawn, and see. A memory is two running sums (``rl_algos/posterior.py``).

Deviations from the paper:
 1. The prior is one factor of the product, so that the posterior without a context is the prior and a factor can only
 sharpen it. (The original has no such factor: its first posterior is the first transition's factor alone.)
 2. A factor is made of its mean and its precision (the original: variance), which starts small: hundreds of factors
 must not drown the prior before anything is learned.
 3. s' is always part of a factor: where tasks differ in their dynamics nothing else tells them apart.
 4. Contexts in training are the first episodes, from none to all, of what the agent recently played on the task: those
 are the contexts that it will draw latents from. (The original: a fixed number of recent transitions.) A product of too
 many factors is overconfident unless it was trained as long as it is used.
 5. The weight of the divergence is that of the mean over tasks, and the critic's errors are divided by the variance of
 their targets. (The original: a sum over tasks beside a mean, so that the weight's meaning depends on the number of
 tasks in a step and on the size of returns.)
 6. Several contexts of a task, each with a latent and transitions of its own, share one pass of the encoder.
 7. Target critics, not a target value network; the temperature is learned; gradients are clipped; the learning rate
 falls to zero over the second half of the budget.
 8. Rewards are divided by the largest size of a reward that training has seen on any task.
 9. Scouts, who repeat random actions, play some more episodes on each task, which no context holds; and some of the
 transitions that are learned from may be drawn from those that paid (``good_share``). Goals that no latent leads to are
 found by the one and spread by the other.
 10. Actions may be discrete: the expectation over them is a sum.
 11. The frozen agent draws its actions, as in training (the original evaluates means).

The critic's loss and the divergence from the prior train the encoder, the actor does not: it is given z as a number.
Where rewards are sparse the authors' critic learns from dense ones (``critic_reward="dense"``); contexts hold the
task's own rewards always.

Shape letters: B trials, D size of the latent, T transitions, n tasks of one step of learning, c contexts of each, b
transitions for each context, F action features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bridge import memory as tree
from bridge import spaces
from bridge.config import Bounded, Width
from bridge.errors import UserError
from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete, TaskFamily, Tasks
from bridge.test_time.trial_buffer import TrialBuffer
from bridge.training.learner import CheckpointedLearner, seeded_init
from bridge.training.search_space import Choice, LogUniform, Space
from bridge.training.workers import Workers
from rl_algos.explorer import Scout
from rl_algos.posterior import Encoder, Posterior, Sums
from rl_algos.replay import Replay, Stored, stored
from rl_algos.soft_actor_critic import SoftActorCritic, Transitions, target_entropy

_FORGET = 0.01
"""Share of a running variance that each step renews."""
_LEAST_VARIANCE = 1e-6
"""Of scaled returns: below it they are all the same."""


@dataclass(frozen=True, kw_only=True)
class Config(Bounded):
    """How PEARL is built and trained."""

    display_name: ClassVar[str] = "PEARL"

    latent: Width = 8
    """Size of z."""
    hidden: Width = 96
    """Units of each of two hidden layers of actor and critics."""
    encoder_hidden: Width = 64
    """Units of each of two hidden layers of the encoder."""
    critic_reward: Literal["own", "dense"] = "own"
    """What the critic learns from: the task's own reward, or the family's dense one (in training only)."""
    train_tasks: int = 100
    """Training tasks where the family has a continuum of them; where it has a list, all of that are used."""
    collect_tasks: int = 24
    """Tasks that are played between updates, in turn."""
    episodes: int = 12
    """Episodes played on each of them, of those that a trial has."""
    prior_episodes: int = 1
    """How many of these are played with a latent from the prior; the others with one from the posterior."""
    scout_episodes: int = 4
    """Episodes more on each of them by a scout, who repeats random actions: for actor and critics, no contexts."""
    steps_per_grad: float = 10.0
    """Environment steps for each step of the optimisers."""
    meta_batch: int = 12
    """Tasks of each step."""
    recent: int = 8
    """Times that a task was last played whose contexts are kept: fewer are nearer to what the agent now does, and
    sooner known by heart."""
    contexts: int = 4
    """Contexts of each of these tasks: what was once played on it is encoded once, and cut at so many places."""
    batch: int = 16
    """Transitions of the task that actor and critics learn from, for each context."""
    good_share: float = 0.0
    """Share of these that are drawn from transitions paid above the task's mean. Where rewards are sparse it spreads
    what is rarely met; where they are noise it takes luck for value."""
    capacity: int = 5_000
    """Transitions of each task that are kept."""
    lr: float = 1e-3
    """Learning rate of Adam; over the second half of the budget it falls linearly to zero."""
    gamma: float = 0.95
    """Discount a step."""
    kl_weight: float = 0.0003
    """What one nat of divergence of q(z | context) from the prior costs (mean over tasks), as a share of the variance
    of the critics' targets: squared errors (mean over tasks and transitions) are divided by that."""
    target_share: float = 0.01
    """How far the target critics move towards the critics at each step."""
    temperature: float = 0.01
    """Weight of the entropy at the start, beside scaled rewards."""
    entropy_share: float = 0.2
    """Discrete actions: the entropy aimed at, as a share of that of random play."""
    entropy_per_side: float = -0.5
    """Continuous actions: the entropy aimed at, in nats for each side of an action space that is scaled to [-1, 1]."""
    actor_gain: float = 3.0
    """Scale of the actor's last layer at the start; above 0.1, say, first policies differ from latent to latent."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm."""

    def __post_init__(self) -> None:
        whole = (
            "latent",
            "hidden",
            "encoder_hidden",
            "train_tasks",
            "collect_tasks",
            "episodes",
            "prior_episodes",
        )
        self.check_numbers(
            "1 or more", *whole, "meta_batch", "recent", "contexts", "batch", "capacity"
        )
        self.check_numbers("0 or more", "kl_weight", "actor_gain", "scout_episodes")
        self.check_numbers(
            "above 0", "steps_per_grad", "lr", "temperature", "max_grad_norm", "target_share"
        )
        self.check_numbers("from 0 to 1", "gamma", "target_share", "entropy_share", "good_share")


SPACE: Space = {
    "lr": LogUniform(3e-4, 3e-3),
    "gamma": Choice((0.9, 0.95, 0.99)),
    "kl_weight": LogUniform(1e-4, 1e-2),
    "target_share": Choice((0.005, 0.01, 0.02)),
    "entropy_share": Choice((0.05, 0.1, 0.2, 0.4)),
    "entropy_per_side": Choice((-2.0, -1.0, -0.5)),
    "steps_per_grad": Choice((5.0, 10.0, 20.0)),
}
"""What is tuned: not the sizes of the networks nor what the critic sees, which are other methods."""


class Memory(NamedTuple):
    """Everything PEARL knows of its task: the sums over all transitions, and the latent of this episode."""

    sums: Sums
    z: Float[Tensor, "B D"]


class Network(nn.Module):
    """Encoder, actor and critics."""

    largest: Tensor
    largest_judged: Tensor
    variance: Tensor

    def __init__(self, family: TaskFamily, config: Config) -> None:
        super().__init__()
        self.observation, self.space, self.latent = family.observation, family.action, config.latent
        inputs = 2 * spaces.width(self.observation) + spaces.width(self.space) + 1
        self.encoder = Encoder(inputs, config.latent, config.encoder_hidden)
        self.soft = SoftActorCritic(
            self.observation,
            self.space,
            condition=config.latent,
            hidden=config.hidden,
            temperature=config.temperature,
            actor_gain=config.actor_gain,
        )
        self.register_buffer("largest", torch.zeros(()))
        self.register_buffer("largest_judged", torch.zeros(()))
        self.register_buffer("variance", torch.zeros(()))

    def factors(self, rows: Step | Stored) -> Sums:
        """The factor of each transition."""
        seen = (spaces.features(obs, self.observation) for obs in (rows.obs, rows.next_obs))
        done, paid = spaces.features(rows.action, self.space), _scaled(rows.reward, self.largest)
        return self.encoder(torch.cat([*seen, done, paid[..., None]], -1))

    def transitions(self, rows: Stored) -> Transitions:
        """What actor and critics learn from."""
        obs, next_obs = (
            spaces.features(obs, self.observation) for obs in (rows.obs, rows.next_obs)
        )
        reward = _scaled(rows.critic_reward, self.largest_judged)
        return Transitions(
            obs, spaces.features(rows.action, self.space), reward, next_obs, rows.terminated.float()
        )

    def act(self, z: Float[Tensor, "*batch D"], obs: Tensor) -> Float[Tensor, "*batch A"]:
        """What the distribution of the next action is made of."""
        return self.soft.policy(spaces.features(obs, self.observation), z)


class Pearl(nn.Module):
    """The frozen agent."""

    policy_modules: ClassVar[tuple[str, ...]] = ("soft.actor",)

    def __init__(self, network: Network, card: Card) -> None:
        super().__init__()
        self.network, self.card = network, card

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        precision, weighted, z = torch.zeros(
            3, len(rng), self.network.latent, device=rng.device
        ).unbind()
        return Memory(Sums(precision, weighted), z)

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """A new draw from the posterior."""
        return memory._replace(z=memory.sums.posterior().draw(rng.normal(self.network.latent)))

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        out = self.network.act(memory.z, obs)
        return self.network.soft.actions.decide(
            out, rng if explore else None, self.card.temperature
        )

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        """One more factor."""
        sums = memory.sums.plus(self.network.factors(step))
        return tree.where(step.live, memory._replace(sums=sums), memory)

    def absorb(self, memory: Memory, steps: list[Step]) -> Memory:
        """A factor for each of many transitions, in one pass."""
        rows, live = stored(steps)
        return memory._replace(sums=memory.sums.plus(self.network.factors(rows).total(live)))

    def adapt(self, memory: Memory, rng: Rows, *, episode: int, last: bool) -> Memory:
        return memory

    @property
    def observation(self) -> Discrete | Box:
        """The space of observations."""
        return self.network.observation

    @property
    def action(self) -> Discrete | Box:
        """The space of actions."""
        return self.network.space

    @property
    def actions(self) -> spaces.Actions:
        """The distributions of actions."""
        return self.network.soft.actions

    def policy_outputs(self, memory: Memory, lived: TrialBuffer) -> Float[Tensor, "B E H A"]:
        """The actor's output at every step, at the latent that the last episode was played with."""
        return self.network.act(memory.z[:, None, None].expand(*lived.live.shape, -1), lived.obs)


class PearlLearner(CheckpointedLearner):
    """Soft actor-critic on replayed transitions, and an encoder of recent ones."""

    checkpointed = ("network", "replay", "recent")

    def __init__(
        self, family: TaskFamily, config: Config, *, seed: int, workers: Workers | None = None
    ) -> None:
        self.workers = workers or Workers()
        if self.workers.count > 1:
            raise UserError(
                "PEARL trains in one process: a checkpoint holds what that one has played. Use --processes 1."
            )
        self.family, self.config, self.seed = family, config, seed
        whole, device = family.trial("train"), self.workers.device
        self.trial = Trial(min(config.episodes, whole.episodes), whole.horizon)
        self.tasks = family.support("train") or config.train_tasks
        self.together = min(config.collect_tasks, self.tasks)
        if config.critic_reward == "dense" and not _has_dense_reward(family):
            raise UserError(f"{family.id} has no dense reward. Train with critic_reward=own.")
        with seeded_init(seed):
            self.network = Network(family, config).to(device)
        steps = self.trial.episodes * self.trial.horizon

        def ring(tasks: int, capacity: int) -> Replay:
            return Replay(
                family.observation, family.action, tasks=tasks, capacity=capacity, device=device
            )

        self.replay = ring(self.tasks, config.capacity)
        self.recent = ring(
            self.tasks * config.recent, steps
        )  # a ring for each time that a task was played
        self.ends = torch.zeros(
            len(self.recent.written), self.trial.episodes + 1, dtype=torch.int64, device=device
        )
        soft = self.network.soft
        self._judges = [*soft.critic.parameters(), *self.network.encoder.parameters()]
        self._actors, self._temperatures = list(soft.actor.parameters()), [soft.log_temperature]
        groups = (self._judges, self._actors, self._temperatures)
        self.optimizers = [torch.optim.Adam(group, lr=config.lr, fused=True) for group in groups]
        self.aim = target_entropy(
            family.action, share=config.entropy_share, per_side=config.entropy_per_side
        )

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """Play some of the tasks, then learn from all that were played so far."""
        config = self.config
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = config.lr * min(1.0, 2 * max(0.0, 1 - spent))
        metrics = self._play()
        steps = max(1, int(self.env_steps / config.steps_per_grad) - self.grad_steps)
        noise = Rows.of(
            f"learn/pearl/{self.seed}", torch.arange(config.meta_batch, device=self.workers.device)
        )
        met = min(self.tasks, (self.updates + 1) * self.together)
        sums: dict[str, float] = {}
        for _ in range(steps):
            for name, value in self._learn(met, noise.at(self.grad_steps)).items():
                sums[name] = sums.get(name, 0.0) + value
            self.grad_steps += 1
        self.updates += 1
        return metrics | {name: total / steps for name, total in sums.items()}

    def agent(self) -> Pearl:
        """The agent as trained so far (it shares the learner's weights; copy it to keep it)."""
        soft = self.network.soft
        count = sum(
            p.numel() for part in (self.network.encoder, soft.actor) for p in part.parameters()
        )
        supervision = "reward" if self.config.critic_reward == "own" else "reward, dense in critic"
        card = Card(
            method="pearl",
            supervision=supervision,
            selection_rule="last",
            params_total=count,
            params_trained=count,
        )
        return Pearl(self.network, card)

    def state_dict(self) -> dict[str, Any]:
        """What was played is part of it."""
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return super().state_dict() | {"optimizers": optimizers, "ends": self.ends}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        super().load_state_dict(state)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.ends.copy_(state["ends"])

    # --- playing -----------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def _play(self) -> dict[str, float]:
        """Play the tasks whose turn it is with the agent itself; the returns of a first and of the last episode."""
        family, device = self.family, self.workers.device
        number = self.updates * self.together + torch.arange(self.together, device=device)
        turn, before = number % self.tasks, number // self.tasks
        recent = turn * self.config.recent + before % self.config.recent
        noise = TrialNoise.of(f"train/pearl/{self.seed}", turn).at(self.updates)
        tasks = family.sample("train", self._task_index(turn))
        agent, scout = self.agent(), Scout(family.action)
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
        self, agent: Pearl | Scout, tasks: Tasks, memory: Any, noise: TrialNoise, episode: int
    ) -> tuple[Any, list[Step], Stored, Bool[Tensor, "n T"]]:
        """One episode, counted: the memory after it, its steps, and the same steps as they are stored."""
        family, dense, network = self.family, self.config.critic_reward == "dense", self.network
        steps: list[Step] = []
        memory, _ = play_episode(
            agent,
            family,
            tasks,
            memory,
            noise,
            episode=episode,
            horizon=self.trial.horizon,
            visit=lambda _t, step: steps.append(step),
        )
        told = [family.dense_reward(tasks, step) for step in steps] if dense else []
        critic_reward = [reward for reward in told if reward is not None]
        rows, live = stored(steps, critic_reward or None)
        self.env_steps += int(live.sum())
        network.largest.copy_(torch.maximum(network.largest, rows.reward[live].abs().max()))
        network.largest_judged.copy_(
            torch.maximum(network.largest_judged, rows.critic_reward[live].abs().max())
        )
        return memory, steps, rows, live

    def _task_index(self, turn: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Of a list of tasks that one itself; of a continuum, tasks that depend on the seed."""
        if self.family.support("train"):
            return turn
        return Rows.of(f"train/pearl/{self.seed}/tasks", turn).bits() & ((1 << 62) - 1)

    # --- learning ----------------------------------------------------------------------------------------------------
    def _learn(self, met: int, noise: Rows) -> dict[str, float]:
        """One step of every optimiser, on some of the first ``met`` tasks."""
        config, soft = self.config, self.network.soft
        noise = noise[: min(met, config.meta_batch)]
        order = Rows.of(self.seed, torch.arange(met, device=noise.device)).at(
            "order", self.grad_steps
        )
        task = order.uniform().argsort()[: len(noise)]
        batch = self._batch(task, noise.at("batch"))
        with self.workers.autocast():
            posterior = self._posteriors(task, noise.at("context"))
            z = posterior.draw(noise.at("z").normal(config.contexts, config.latent))
            condition = z[:, :, None].expand(-1, -1, config.batch, -1)
            given, alpha = condition.detach(), soft.temperature()
            target = soft.targets(
                batch, given, self._draws(noise.at("target")), alpha, config.gamma
            )
            error = soft.critic_loss(batch, condition, target).mean() / self._variance(target)
            kl = posterior.divergence().mean()
            norm = self._step(0, error + config.kl_weight * kl, self._judges)
            loss, entropy = soft.actor_loss(batch.obs, given, self._draws(noise.at("actor")), alpha)
            actor_norm = self._step(1, loss.mean(), self._actors)
            self._step(2, soft.temperature_loss(entropy, self.aim).mean(), self._temperatures)
        soft.follow(config.target_share)
        numbers = {"loss_critic": error, "kl": kl, "value": -loss.mean(), "entropy": entropy.mean()}
        numbers |= {"temperature": alpha, "grad_norm": norm + actor_norm}
        values = torch.stack([number.detach().float() for number in numbers.values()]).tolist()
        return dict(zip(numbers, values, strict=True))

    def _batch(self, task: Int[Tensor, " n"], noise: Rows) -> Transitions:
        """Transitions of each task, others for each of its contexts: ``[n, c, b, ...]``."""
        config = self.config
        count = config.contexts * config.batch
        rows = self.replay.draw(task, count, noise, good=round(config.good_share * count))
        parts = self.network.transitions(rows)
        return Transitions(
            *(part.unflatten(1, (config.batch, config.contexts)).transpose(1, 2) for part in parts)
        )

    def _posteriors(self, task: Int[Tensor, " n"], noise: Rows) -> Posterior:
        """Given several beginnings, of any number of episodes, of what was recently played on a task: ``[n, c, D]``."""
        times = ((self.updates + 1) * self.together - task - 1) // self.tasks + 1
        drawn = (noise.at("time").uniform() * times.clamp(max=self.config.recent)).to(torch.int64)
        ring = task * self.config.recent + drawn
        rows, _ = self.recent.first(ring)
        count = self.ends[ring].gather(1, noise.integers(self.ends.shape[1], self.config.contexts))
        return self.network.factors(rows).beginnings(count).posterior()

    def _draws(self, noise: Rows) -> Float[Tensor, "n c b F"] | None:
        """Noise that continuous actions are made of."""
        if self.network.soft.discrete:
            return None
        return noise.normal(
            self.config.contexts, self.config.batch, spaces.width(self.family.action)
        )

    @torch.no_grad()
    def _variance(self, target: Float[Tensor, "n c b"]) -> Float[Tensor, ""]:
        """The running variance of targets, this one included."""
        share = max(_FORGET, 1 / (self.grad_steps + 1))
        self.network.variance.lerp_(target.var(correction=0), share)
        return self.network.variance.clamp(min=_LEAST_VARIANCE)

    def _step(self, which: int, loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
        """One step of one optimiser, on its own parameters alone; the gradient's norm."""
        optimizer = self.optimizers[which]
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
        optimizer.step()
        return norm


def _scaled(reward: Tensor, largest: Tensor) -> Tensor:
    """Between -1 and 1 in training; as they are where no reward but 0 was ever seen."""
    return reward / torch.where(largest > 0, largest, 1.0)


def _has_dense_reward(family: TaskFamily) -> bool:
    """Whether the family gives one, found by a step of one task."""
    tasks = family.sample("train", torch.arange(1))
    noise = Rows.of("dense", torch.arange(1))
    state, obs = family.reset(tasks, noise)
    action = spaces.soft_actions(family.action).decide(
        torch.zeros(1, spaces.soft_actions(family.action).outputs), None
    )
    out = family.step(tasks, state, action.action, noise)
    never = torch.zeros(1, dtype=torch.bool)
    step = Step(obs, action.action, out.reward, out.obs, never, never)
    return family.dense_reward(tasks, step) is not None
