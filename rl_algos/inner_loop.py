"""Adaptation by policy gradient: many tasks at once, each with parameters of its own.

A step follows the gradient of a surrogate (``bridge/maths/surrogates.py``) on a task's own episodes, for all tasks in
one call of ``torch.func``. Learners differentiate through it; ``GradientAgent`` takes it between episodes of a trial.

A step that is not a number, or longer than ``max_step``, is refused: the task keeps its parameters, and the refusal is
counted.

Shape letters: N tasks (or B trials), E episodes of each, H steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from bridge import memory as tree
from bridge import spaces
from bridge.config import Bounded, CountOrZero, NonNegative, Positive, Share
from bridge.evaluation.footprint import gradient_step_bytes
from bridge.maths.baselines import Baseline, centred, episode_advantages
from bridge.maths.surrogates import Estimator, spread, surrogate
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.test_time.objective import episodes_apart
from bridge.test_time.trial_buffer import TrialBuffer
from rl_algos import per_task
from rl_algos.per_task import Episodes, Parameters
from rl_algos.policies import Feedforward

_STEPS_AT_ONCE = 1 << 18
"""Environment steps that first-order gradients are computed on at once, to bound memory."""


@dataclass(frozen=True, kw_only=True)
class InnerConfig(Bounded):
    """Gradient steps on a task."""

    episodes_per_step: CountOrZero = 0
    """Episodes of each gradient step; the next ones are played with the new parameters. 0: a quarter of a trial's,
    from 2 to 20."""
    inner_lr: NonNegative = 0.1
    """Step size along the gradient of the mean over steps."""
    inner_decay: Share = 1.0
    """Factor by which each further step of a trial is shorter than the one before."""
    adapted: Literal["all", "head"] = "all"
    """Parameters that are adapted: all, or those of the last layer."""
    gamma: Share = 0.99
    """Discount a step."""
    lam: Share = 0.9
    """Trace of the generalised advantage."""
    baseline: Baseline = "linear"
    """Subtracted from returns: a linear fit to observation and time, or the mean at each time."""
    standardise: bool = True
    """Divide advantages by their standard deviation on the task, so that steps do not depend on the unit of rewards."""
    max_step: Positive = 100.0
    """Longer steps (Euclidean, over all parameters) are refused."""

    def episodes(self, trial: Trial) -> int:
        """Episodes between gradient steps.

        Raises:
            UserError: as ``episodes_apart``.
        """
        return episodes_apart(self.episodes_per_step, trial, "episodes_per_step")


class InnerLoop(nn.Module):
    """A policy, a step size for each of its adapted parameters, and gradient steps of N tasks at once."""

    def __init__(self, policy: Feedforward, config: InnerConfig) -> None:
        super().__init__()
        self.policy, self.config = policy, config
        prefix = "head." if config.adapted == "head" else ""
        own = dict(policy.named_parameters())
        self.adapted = [name for name in own if name.startswith(prefix)]
        """Names of the adapted parameters."""
        self.rates = nn.ParameterList(
            torch.full_like(own[name], config.inner_lr) for name in self.adapted
        )
        self.rates.requires_grad_(False)

    def start(self, tasks: int) -> Parameters:
        """The parameters of ``tasks`` tasks before any step: views of the policy's own."""
        own = dict(self.policy.named_parameters())
        return {name: own[name].expand(tasks, *own[name].shape) for name in self.adapted}

    def with_advantages(self, episodes: Episodes) -> Episodes:
        """The same episodes with advantages."""
        config = self.config
        advantage = episode_advantages(
            episodes.reward,
            spaces.features(episodes.obs, self.policy.observation),
            episodes.live,
            gamma=config.gamma,
            lam=config.lam,
            baseline=config.baseline,
        )
        return episodes._replace(advantage=advantage)

    def gradient(self, params: Parameters, episodes: Episodes, estimator: Estimator) -> Parameters:
        """Gradient of the mean surrogate over a task's steps, with advantages in units of their ``spread``.

        It can be differentiated again unless the estimator is ``fomaml``.

        Args:
            params: each task's parameters.
            episodes: each task's episodes, with advantages.
            estimator: of second derivatives.
        """
        first_order = estimator == "fomaml"
        if self.config.standardise:
            advantage = centred(episodes.advantage, episodes.live, (1, 2))
            episodes = episodes._replace(advantage=advantage)
        chunk = max(1, _STEPS_AT_ONCE // episodes.reward[0].numel()) if first_order else None

        def objective(
            own: Parameters, played: Episodes
        ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
            outputs = functional_call(self.policy, own, (played.obs,))
            log_prob, _ = self.policy.actions.log_prob_and_entropy(outputs, played.action)
            log_prob = torch.where(played.live, log_prob, 0.0)
            constants = (played.behaviour, played.advantage)
            unit = torch.ones_like(log_prob[0, 0])
            if self.config.standardise:
                unit = spread(log_prob, *constants, played.live, estimator)
            steps = played.live.sum().clamp(min=1)
            return surrogate(log_prob, *constants, estimator).sum() / steps, unit

        def slope(own: Parameters, played: Episodes) -> Parameters:
            gradient, unit = grad(objective, has_aux=True)(own, played)
            return {name: g / unit for name, g in gradient.items()}

        gradient = vmap(slope, chunk_size=chunk)(params, episodes)
        return {name: g.detach() for name, g in gradient.items()} if first_order else gradient

    def step(
        self, params: Parameters, episodes: Episodes, estimator: Estimator, number: int = 0
    ) -> tuple[Parameters, Bool[Tensor, " N"]]:
        """Parameters after a gradient step, and True for tasks whose step was not refused.

        Args:
            params: each task's parameters.
            episodes: each task's episodes, with advantages.
            estimator: of second derivatives.
            number: of steps taken in the trial before this one.
        """
        gradient = self.gradient(params, episodes, estimator)
        share = self.config.inner_decay**number
        change = {
            name: share * rate * gradient[name]
            for name, rate in zip(self.adapted, self.rates, strict=True)
        }
        squares = [c.detach().square().flatten(1).sum(1) for c in change.values()]
        # NaN is not less than anything
        taken = torch.stack(squares).sum(0) <= self.config.max_step**2
        return {name: tree.where(taken, p + change[name], p) for name, p in params.items()}, taken


class Memory(NamedTuple):
    """The adapted parameters of each trial, and its episodes since the last gradient step."""

    params: Parameters
    buffer: TrialBuffer
    slot: Int[Tensor, " B"]
    """Place in ``buffer`` of the episode that is being played."""
    grad_steps: Int[Tensor, " B"]
    """Gradient steps taken in this trial."""
    refused: Int[Tensor, " B"]
    """Gradient steps refused."""


class GradientAgent(nn.Module):
    """Plays, and takes ``steps`` gradient steps after every ``episodes_per_step`` episodes, all on these episodes.

    Episodes of another player, given as context, are used like its own: the plain score function, without importance
    weights.
    """

    def __init__(self, inner: InnerLoop, card: Card, steps: int = 1) -> None:
        super().__init__()
        self.inner, self.card, self.steps = inner, card, steps

    @property
    def actions(self) -> spaces.Actions:
        """The distributions of actions."""
        return self.inner.policy.actions

    def with_steps(self, steps: int) -> GradientAgent:
        """The same agent, with another number of gradient steps at a time."""
        return GradientAgent(self.inner, self.card, steps)

    def interval(self, trial: Trial) -> int:
        """Episodes between gradient steps."""
        return self.inner.config.episodes(trial)

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        policy, kept = self.inner.policy, min(self.interval(trial), trial.episodes)
        params = {name: p.detach().clone() for name, p in self.inner.start(len(rng)).items()}
        zeros = torch.zeros(len(rng), dtype=torch.int64, device=rng.device)
        places = Trial(kept, trial.horizon)
        buffer = TrialBuffer.empty(policy.observation, policy.action, places, zeros)
        return Memory(params, buffer, zeros, zeros.clone(), zeros.clone())

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        slot = episode % memory.buffer.trial.episodes
        memory.buffer.clear(slot)
        return memory._replace(slot=torch.full_like(memory.slot, slot))

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        outputs = per_task.out(self.inner.policy, memory.params, obs)
        return self.actions.decide(outputs, rng if explore else None, self.card.temperature)

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        memory.buffer.record(step, memory.slot)
        return memory

    def adapt(self, memory: Memory, rng: Rows, *, episode: int, last: bool) -> Memory:
        interval = memory.buffer.trial.episodes
        due = (episode + 1) % interval == 0
        if not (due or last):
            return memory
        params = memory.params
        episodes = self.inner.with_advantages(Episodes.of(memory.buffer))
        count = torch.zeros_like(memory.grad_steps)
        for _ in range(self.steps):
            params, taken = self.inner.step(params, episodes, "fomaml", episode // interval)
            count += taken
        memory.buffer.clear()
        return memory._replace(
            params=params,
            grad_steps=memory.grad_steps + count,
            refused=memory.refused + self.steps - count,
        )

    def represent(self, memory: Memory, obs: Tensor) -> Float[Tensor, "B D"]:
        """The change of the adapted parameters since the start of the trial."""
        start = self.inner.start(len(memory.slot))
        changes = [(now - start[name]).flatten(1) for name, now in memory.params.items()]
        return torch.cat(changes, 1)

    def adapt_bytes(self, trial: Trial) -> int:
        """Bytes that ``adapt`` needs for a row at most: a gradient step on as many episodes as are kept."""
        return gradient_step_bytes(self, trial, next(self.inner.parameters()).device)

    def tally(self, memory: Memory) -> dict[str, Int[Tensor, " B"]]:
        """Gradient steps that each trial has taken and refused so far."""
        return {"grad_steps": memory.grad_steps, "refused_steps": memory.refused}
