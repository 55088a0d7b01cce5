"""Fine-tuning in a trial: an agent plays on, and now and then its network takes gradient steps on what the trial shows.

Any agent can be tuned that can say again, differentiably, what its network said at every step of a trial
(``Tunable``). Whatever it remembers otherwise (a cache, a hidden state, a posterior) it keeps on remembering; after the
steps its memory is made anew by the tuned network, which reads the trial again. What is tuned is the ``TrialWeights``'s
to
say: all weights (``continue_training``), some, or low-rank adapters (``llm_adapt/lora.py``). All trials are tuned in
one call, each on its own data.

Two signals:

* ``reward``: a policy gradient on all episodes so far, MAML's inner objective: generalised advantages, standardised on
  each trial. The gradient of a trial's first step is that of ``rl_algos/inner_loop.py``; further steps are on the same
  episodes, and an action stops to count once its probability has moved far (PPO's clip, from where these steps began).
  Episodes of another player are used like own ones: the plain score function, without weights.
* ``demos``: the likelihood of what was done in all episodes shown. Demonstrations are shown on track C; steps are taken
  before scoring alone.

Steps are Adam's, whose moments live through the trial, or plain ones. A step that is not a number is refused: that
trial keeps what it had, and the refusal is counted.

Shape letters: B trials, E episodes, H steps, A numbers of a distribution, K episodes of a trial.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bridge import memory as tree
from bridge import spaces
from bridge.config import Bounded
from bridge.errors import ContractError, UserError
from bridge.evaluation.footprint import gradient_step_bytes
from bridge.maths.baselines import Baseline
from bridge.maths.optimizers import Moments, adam, no_moments, sgd
from bridge.play import absorbed, show
from bridge.protocol import Agent, Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete
from bridge.test_time.objective import advantages, by_trial, episodes_apart, mean_gain
from bridge.test_time.trial_buffer import TrialBuffer
from bridge.test_time.weights import Own, PerTrialWeights, TrialWeights

Signal = Literal["reward", "demos"]
"""Policy gradient, or behaviour cloning of what was shown."""

_STEPS_AT_ONCE = 1 << 14
"""Environment steps that gradients are taken on at once: it bounds memory."""


@runtime_checkable
class Tunable(Agent, Protocol):
    """An agent whose network can be trained on by what a trial shows."""

    policy_modules: ClassVar[tuple[str, ...]]
    """How the names of those of the network's modules begin whose weights decide what is done."""

    @property
    def network(self) -> nn.Module:
        """What decides."""
        ...

    @property
    def observation(self) -> Discrete | Box:
        """The space of observations."""
        ...

    @property
    def action(self) -> Discrete | Box:
        """The space of actions."""
        ...

    @property
    def actions(self) -> spaces.Actions:
        """The distributions that the network's output stands for."""
        ...

    def policy_outputs(self, memory: Any, lived: TrialBuffer) -> Float[Tensor, "B E H A"]:
        """The network's output at every step lived, given those before it; anything finite at empty places.

        Differentiable in the network's weights; equal to what ``act`` decided by, if the same weights played. (What an
        agent draws for an episode, a latent, is that of the memory.)
        """
        ...


@runtime_checkable
class Stepping(Protocol):
    """An agent that takes gradient steps of its own kind."""

    def with_steps(self, steps: int) -> Agent:
        """The same agent, with so many each time."""
        ...


@runtime_checkable
class Periodic(Protocol):
    """An agent that takes gradient steps between the episodes of a trial."""

    def interval(self, trial: Trial) -> int:
        """Episodes between gradient steps."""
        ...


@dataclass(frozen=True, kw_only=True)
class GradientSteps(Bounded):
    """When gradient steps are taken in a trial, and how far."""

    inner_steps: int = 20
    """Gradient steps each time."""
    inner_rule: Literal["adam", "sgd"] = "adam"
    """Of these steps."""
    inner_lr: float = 1e-2
    """Learning rate."""
    inner_every: int = 0
    """Episodes between them (``reward``). 0: a quarter of a trial's, from 2 to 20, as MAML."""
    inner_clip: float = 0.2
    """How far an action's probability may move, as a ratio, before it stops to count (``reward``)."""
    inner_gamma: float = 0.99
    """Discount a step."""
    inner_lam: float = 0.9
    """Trace of the generalised advantage."""
    inner_baseline: Baseline = "linear"
    """What is subtracted from returns: a linear fit to observation and time, or the mean at each time."""
    inner_norm: float = 1.0
    """Each trial's gradients are scaled down to this norm."""

    by_reward: ClassVar[tuple[str, ...]] = (
        "inner_every",
        "inner_clip",
        "inner_gamma",
        "inner_lam",
        "inner_baseline",
    )
    """The fields that only the signal ``reward`` reads."""

    def __post_init__(self) -> None:
        self.check_numbers("0 or more", "inner_steps", "inner_every")
        self.check_numbers("above 0", "inner_lr", "inner_clip", "inner_norm")
        self.check_numbers("from 0 to 1", "inner_gamma", "inner_lam")

    def interval(self, trial: Trial) -> int:
        """Episodes between gradient steps.

        Raises:
            UserError: episodes of one step, one at a time: no advantage can be told from a single reward.
        """
        return episodes_apart(self.inner_every, trial, "inner_every")


class Memory(NamedTuple):
    """What the tuned agent remembers, what each trial has of its own, and all that it has lived."""

    agent: Any
    own: Own
    moments: Moments
    lived: TrialBuffer
    clues: Clues
    episode: Int[Tensor, " B"]
    time: Int[Tensor, " B"]
    """The next step of it."""
    grad_steps: Int[Tensor, " B"]
    refused: Int[Tensor, " B"]


class FineTuned(nn.Module):
    """The agent, with gradient steps at test.

    Args:
        agent: who plays; its own weights never change.
        tuner: what each trial has of its own.
        config: when and how it is moved.
        card: who this is.
        signal: what it is moved by.
        rows_to_adapt: which rows are to be tuned, given what they have lived and the number of the last episode; None:
        all.
    """

    def __init__(
        self,
        agent: Tunable,
        tuner: TrialWeights,
        config: GradientSteps,
        card: Card,
        signal: Signal = "reward",
        rows_to_adapt: Callable[[TrialBuffer, int], Bool[Tensor, " B"]] | None = None,
    ) -> None:
        super().__init__()
        self.agent, self.tuner, self.config, self.signal, self.rows_to_adapt = (
            copy.copy(agent),
            tuner,
            config,
            signal,
            rows_to_adapt,
        )
        self.card = card

    @property
    def card(self) -> Card:
        """Who this is; how its actions are decoded is the agent's own rule."""
        return self._card

    @card.setter
    def card(self, card: Card) -> None:
        self._card = card
        self.agent.card = dataclasses.replace(self.agent.card, decode_rule=card.decode_rule)

    @property
    def actions(self) -> spaces.Actions:
        """The distributions of actions."""
        return self.agent.actions

    def with_steps(self, steps: int) -> FineTuned:
        """The same agent, with so many gradient steps each time."""
        config = dataclasses.replace(self.config, inner_steps=steps)
        return FineTuned(self.agent, self.tuner, config, self.card, self.signal, self.rows_to_adapt)

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        if self.signal == "reward":
            self.config.interval(trial)  # refused before anything is played
        own = tree.fork(self.tuner.new(self.agent.network, rng.at("own")))
        zeros = torch.zeros(len(rng), dtype=torch.int64, device=rng.device)
        lived = TrialBuffer.empty(self.agent.observation, self.agent.action, trial, zeros)
        inner = self.agent.start(clues, trial, rng)
        return Memory(
            inner,
            own,
            no_moments(own),
            lived,
            clues,
            zeros,
            zeros.clone(),
            zeros.clone(),
            zeros.clone(),
        )

    def afresh(self, memory: Memory, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """A new trial, of which nothing is known, in the weights that an earlier one has left."""
        with self._on(memory.own):
            inner = self.agent.start(clues, trial, rng)
        return self.start(clues, trial, rng)._replace(agent=inner, own=memory.own)

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        with self._on(memory.own):
            inner = self.agent.begin(memory.agent, rng, episode=episode)
        number = torch.full_like(memory.episode, episode)
        return memory._replace(agent=inner, episode=number, time=torch.zeros_like(memory.time))

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        with self._on(memory.own):
            return self.agent.act(memory.agent, obs, rng, explore=explore)

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        with self._on(memory.own):
            inner = self.agent.observe(memory.agent, step, carry)
        return self._recorded(memory, [step])._replace(agent=inner)

    def absorb(self, memory: Memory, steps: list[Step]) -> Memory:
        """One episode's steps."""
        with self._on(memory.own):
            inner = absorbed(self.agent, memory.agent, steps)
        return self._recorded(memory, steps)._replace(agent=inner)

    def adapt(self, memory: Memory, rng: Rows, *, episode: int, last: bool) -> Memory:
        """``inner_steps`` gradient steps where they are due, and the trial read again by what came of them."""
        memory = memory._replace(
            agent=self.agent.adapt(memory.agent, rng, episode=episode, last=last)
        )
        regular = False
        if self.signal == "reward":
            regular = (episode + 1) % self.config.interval(Trial(*memory.lived.live.shape[1:])) == 0
        if not (regular or last) or not self.config.inner_steps:
            return memory
        rows = torch.arange(len(memory.time), device=memory.time.device)
        if self.rows_to_adapt is not None:
            rows = rows[self.rows_to_adapt(memory.lived, episode)]
        if not len(rows):
            return memory
        lived = memory.lived.first(episode + 1)
        weight = self.weights(lived)
        at_once = max(1, _STEPS_AT_ONCE // max(1, int(lived.live.flatten(1).sum(1).max())))
        for some in rows.split(at_once):
            self._descend(memory, lived, weight, some)
        return memory._replace(agent=self._reread(memory, rng, episode + 1))

    def adapt_bytes(self, trial: Trial) -> int:
        """Bytes that a row needs at most in ``adapt``: a gradient step on a whole trial, which is then read again."""
        config = dataclasses.replace(self.config, inner_steps=1)
        one_step = FineTuned(self.agent, self.tuner, config, self.card, self.signal)
        device = next(self.agent.network.parameters()).device
        return gradient_step_bytes(one_step, trial, device, lambda memory: memory.lived.live)

    def interval(self, trial: Trial) -> int:
        """Episodes between gradient steps."""
        return self.config.interval(trial)

    def weights(self, lived: TrialBuffer) -> Float[Tensor, "B E H"]:
        """What each step's log-probability counts: how good it was, or 1 where it was shown."""
        if self.signal == "demos":
            return lived.live.to(lived.reward.dtype)
        config = self.config
        advantage = advantages(
            lived,
            self.agent.observation,
            gamma=config.inner_gamma,
            lam=config.inner_lam,
            baseline=config.inner_baseline,
        )
        return by_trial(advantage, lived)

    def tally(self, memory: Memory) -> dict[str, Int[Tensor, " B"]]:
        """What adaptation has cost each trial so far."""
        return {"grad_steps": memory.grad_steps, "refused_steps": memory.refused}

    def _on(self, own: Own) -> Any:
        return self.tuner.on(self.agent.network, own)

    def _recorded(self, memory: Memory, steps: list[Step]) -> Memory:
        time = memory.time
        for step in steps:
            lived = torch.ones_like(time, dtype=torch.bool) if step.live is None else step.live
            memory.lived.record(step, memory.episode, time, lived)
            time = time + lived.long()
        return memory._replace(time=time)

    def _descend(
        self,
        memory: Memory,
        lived: TrialBuffer,
        weight: Float[Tensor, "B E H"],
        rows: Int[Tensor, " b"],
    ) -> None:
        """All steps of some rows on what they have lived, in place."""
        lived, inner, weight = (tree.select(part, rows) for part in (lived, memory.agent, weight))
        own, moments = tree.select(memory.own, rows), tree.select(memory.moments, rows)
        behaviour, taken = None, torch.zeros_like(rows)
        clip = self.config.inner_clip if self.signal == "reward" else None
        for _ in range(self.config.inner_steps):
            with torch.enable_grad():
                leaves = [leaf.requires_grad_() for leaf in tree.leaves(own)]
                with self._on(own):
                    out = self.agent.policy_outputs(inner, lived)
                log_prob, _ = self.agent.actions.log_prob_and_entropy(out, lived.action)
                behaviour = log_prob.detach() if behaviour is None else behaviour
                gain = mean_gain(log_prob, behaviour, weight, lived.live, clip)
                found = torch.autograd.grad(-gain.sum(), leaves, allow_unused=True)
            if all(gradient is None for gradient in found):
                raise ContractError(
                    f"What {self.card.method} says does not depend on any weight that is tuned."
                )
            gradients = [
                torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)
            ]
            own, how = (
                tree.detached(own),
                {"lr": self.config.inner_lr, "max_norm": self.config.inner_norm},
            )
            if self.config.inner_rule == "adam":
                own, moments, went = adam(own, gradients, moments, **how)
            else:
                own, went = sgd(own, gradients, **how)
            taken += went
        tree.put(memory.own, rows, own)
        tree.put(memory.moments, rows, moments)
        memory.grad_steps[rows] += taken
        memory.refused[rows] += self.config.inner_steps - taken

    def _reread(self, memory: Memory, rng: Rows, episodes: int) -> Any:
        """What the agent would remember, had the network as it is now played the trial."""
        again = rng.at("again")
        inner = self.agent.start(memory.clues, Trial(*memory.lived.live.shape[1:]), again)
        with self._on(memory.own):
            for episode in range(episodes):
                inner = show(
                    self.agent,
                    inner,
                    memory.lived.steps(episode),
                    again.at("begin", episode),
                    episode=episode,
                )
        return inner


def continue_training(agent: Agent, steps: int, **settings: Any) -> Agent:
    """The same agent with a budget of ``steps`` gradient steps at a time, on all weights that decide what it does.

    Any learned agent that remembers: what it does at test otherwise it goes on doing. (PEARL's encoder goes on
    inferring as it did; its actor is tuned.) One that takes gradient steps anyway (MAML, multi-task pretraining with
    fine-tuning) takes so many of them. One that is told its task (multi-task RL) has nothing to adapt to.

    Raises:
        UserError: another agent, such as a reference.
    """
    if isinstance(agent, Stepping):
        return agent.with_steps(steps)
    if not isinstance(agent, Tunable):
        raise UserError(
            f"{agent.card.method} has no network that could be trained on in a trial. Take rl2, pearl, icl_*, mt, or "
            "maml and mtrl_finetune, which are."
        )
    tuner = PerTrialWeights(agent.policy_modules)
    return FineTuned(
        agent,
        tuner,
        GradientSteps(inner_steps=steps, **settings),
        card_of(agent, tuner, "full_reward"),
    )


def card_of(agent: Tunable, tuner: TrialWeights, called: str) -> Card:
    """The agent's card, with what is tuned, and how much of it there is."""
    own = tuner.new(agent.network, Rows.of("count", torch.arange(1)))
    count = sum(leaf[0].numel() for leaf in tree.leaves(own))
    return dataclasses.replace(
        agent.card, method=f"{called}_{agent.card.method}", params_trained=count
    )
