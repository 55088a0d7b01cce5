"""Gradient steps within a trial: an agent plays on, and now and then its network is trained on the trial's transitions.

This works for any agent that can recompute, differentiably, its network's outputs at every step of a trial
(``Tunable``). Its other memory (a cache, a hidden state, a posterior) is kept; after the steps it is made anew by the
tuned network, which reads the trial again. ``TrialWeights`` are the weights that move: all of the policy
(``continue_training``), some, or low-rank adapters (``llm_adapt/lora.py``). All trials are tuned in one call, each on
its own data.

Two signals:

* ``reward``: a policy gradient on all episodes so far, MAML's inner objective: generalised advantages, standardised in
  each trial. The gradient of a trial's first step is that of ``rl_algos/inner_loop.py``. Further steps are on the same
  episodes, and the gradient of an action stops once its probability has moved far (PPO's clip, from where these steps
  began). Episodes of another agent are used like the agent's own: the plain score function, without importance weights.
* ``demos``: the likelihood of the actions of all episodes of the context (track C). Steps are taken before scoring.

The optimiser is Adam, whose moments persist through the trial, or gradient descent. A step that is not finite is
refused: that trial keeps its weights, and the refusal is counted.

Shape letters: B trials, E episodes, H steps.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bridge import memory as tree
from bridge import spaces
from bridge.errors import ContractError, UserError
from bridge.evaluation.footprint import gradient_step_bytes
from bridge.maths.baselines import episode_advantages, standardised
from bridge.maths.optimizers import Moments, adam, no_moments, sgd
from bridge.play import absorbed, show
from bridge.protocol import Agent, Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.test_time.contract import Stepping, Tunable
from bridge.test_time.objective import mean_gain
from bridge.test_time.settings import GradientSteps, Signal
from bridge.test_time.trial_buffer import TrialBuffer
from bridge.test_time.weights import Own, PerTrialWeights, TrialWeights

_STEPS_AT_ONCE = 1 << 14
"""Environment steps in one backward pass: bounds memory."""


class Memory(NamedTuple):
    """The memory of the agent, each trial's weights with their optimiser, and the transitions so far."""

    agent: Any
    own: Own
    moments: Moments
    buffer: TrialBuffer
    clues: Clues
    episode: Int[Tensor, " B"]
    grad_steps: Int[Tensor, " B"]
    refused: Int[Tensor, " B"]


class FineTuned(nn.Module):
    """An agent with gradient steps at test.

    Args:
        agent: the agent; its own weights never change.
        trial_weights: the weights that each trial has of its own.
        config: interval, number and size of gradient steps.
        card: the card.
        signal: the objective of gradient steps.
        rows_to_adapt: a function of the trials' transitions and the number of the last episode: True for trials that
            take gradient steps. None: all do.
    """

    def __init__(
        self,
        agent: Tunable,
        trial_weights: TrialWeights,
        config: GradientSteps,
        card: Card,
        signal: Signal = "reward",
        rows_to_adapt: Callable[[TrialBuffer, int], Bool[Tensor, " B"]] | None = None,
    ) -> None:
        super().__init__()
        self.agent = copy.copy(agent)
        self.trial_weights, self.config, self.signal = trial_weights, config, signal
        self.rows_to_adapt = rows_to_adapt
        self.card = card

    @property
    def card(self) -> Card:
        """The card. Setting it sets the decoding rule of the agent within, too."""
        return self._card

    @card.setter
    def card(self, card: Card) -> None:
        self._card = card
        self.agent.card = dataclasses.replace(self.agent.card, decode_rule=card.decode_rule)

    @property
    def actions(self) -> spaces.Actions:
        """Distributions of actions."""
        return self.agent.actions

    def with_steps(self, steps: int) -> FineTuned:
        """The same agent with ``steps`` gradient steps each time."""
        config = dataclasses.replace(self.config, inner_steps=steps)
        return FineTuned(
            self.agent, self.trial_weights, config, self.card, self.signal, self.rows_to_adapt
        )

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        if self.signal == "reward":
            self.config.interval(trial)  # an impossible interval is refused before play
        own = tree.fork(self.trial_weights.new(self.agent.network, rng.at("own")))
        zeros = torch.zeros(len(rng), dtype=torch.int64, device=rng.device)
        return Memory(
            agent=self.agent.start(clues, trial, rng),
            own=own,
            moments=no_moments(own),
            buffer=TrialBuffer.empty(self.agent.observation, self.agent.action, trial, zeros),
            clues=clues,
            episode=zeros,
            grad_steps=zeros.clone(),
            refused=zeros.clone(),
        )

    def afresh(self, memory: Memory, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """The memory at the start of a new trial, with the trial weights of ``memory`` and nothing else of it."""
        with self._on(memory.own):
            inner = self.agent.start(clues, trial, rng)
        return self.start(clues, trial, rng)._replace(agent=inner, own=memory.own)

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        with self._on(memory.own):
            inner = self.agent.begin(memory.agent, rng, episode=episode)
        return memory._replace(agent=inner, episode=torch.full_like(memory.episode, episode))

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        with self._on(memory.own):
            return self.agent.act(memory.agent, obs, rng, explore=explore)

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        with self._on(memory.own):
            inner = self.agent.observe(memory.agent, step, carry)
        memory.buffer.record(step, memory.episode)
        return memory._replace(agent=inner)

    def absorb(self, memory: Memory, steps: list[Step]) -> Memory:
        """The memory after steps of one episode that the agent observes instead of playing."""
        with self._on(memory.own):
            inner = absorbed(self.agent, memory.agent, steps)
        for step in steps:
            memory.buffer.record(step, memory.episode)
        return memory._replace(agent=inner)

    def adapt(self, memory: Memory, rng: Rows, *, episode: int, last: bool) -> Memory:
        """Take ``inner_steps`` gradient steps if they are due, then read the trial again with the new weights."""
        memory = memory._replace(
            agent=self.agent.adapt(memory.agent, rng, episode=episode, last=last)
        )
        due = last
        if self.signal == "reward":
            due |= (episode + 1) % self.config.interval(memory.buffer.trial) == 0
        if not due or not self.config.inner_steps:
            return memory
        rows = torch.arange(len(memory.episode), device=memory.episode.device)
        if self.rows_to_adapt is not None:
            rows = rows[self.rows_to_adapt(memory.buffer, episode)]
        if not len(rows):
            return memory
        self._tune(memory, memory.buffer.first(episode + 1), rows)
        return memory._replace(agent=self._reread(memory, rng, episode + 1))

    def represent(self, memory: Memory, obs: Tensor) -> Float[Tensor, "B D"] | None:
        """What the agent represents with each trial's own weights; None if it has no ``represent``."""
        inner = getattr(self.agent, "represent", None)
        if inner is None:
            return None
        with self._on(memory.own):
            return inner(memory.agent, obs)

    def misfit(self, memory: Memory) -> Float[Tensor, " B"]:
        """The held-out loss of gradient steps: what the objective on every other episode loses by steps on the rest.

        It is a mean over both halves; below 0 if steps on one half help on the other one, and 0 if a half has less than
        two steps. Steps begin at weights as trials start from, but adapters of all trials at the same draw. A latent
        (PEARL's) is the trial's present one.
        """
        rows = torch.arange(len(memory.episode), device=memory.episode.device)
        parity = torch.arange(memory.buffer.trial.episodes, device=rows.device) % 2
        halves = [
            memory.buffer._replace(live=memory.buffer.live & (parity == part)[:, None])
            for part in (0, 1)
        ]
        gains = [self._gain(memory, *pair, rows) for pair in (halves, halves[::-1])]
        return -torch.stack(gains).mean(0)

    def _gain(
        self, memory: Memory, known: TrialBuffer, held_out: TrialBuffer, rows: Int[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """What the objective on held-out episodes gains by gradient steps on known ones."""
        own = tree.fork(
            self.trial_weights.new(self.agent.network, Rows.of("held out", torch.zeros_like(rows)))
        )
        count = memory.grad_steps
        memory = memory._replace(
            own=own, moments=no_moments(own), grad_steps=count.clone(), refused=count.clone()
        )
        weight, log_prob = self.step_weights(held_out), []
        for tuned in (False, True):
            if tuned:
                self._tune(memory, known, rows)
            with self._on(own):
                outputs = self.agent.policy_outputs(memory.agent, held_out)
            found, _ = self.agent.actions.log_prob_and_entropy(outputs, held_out.action)
            log_prob.append(found)
        before, after = log_prob
        return mean_gain(after - before, before, weight, held_out.live, None)

    def adapt_bytes(self, trial: Trial) -> int:
        """Most bytes that a row needs in ``adapt``: a gradient step on a whole trial, which is then read again."""
        one_step = self.with_steps(1)
        one_step.rows_to_adapt = None
        device = next(self.agent.network.parameters()).device
        return gradient_step_bytes(one_step, trial, device)

    def interval(self, trial: Trial) -> int:
        """Episodes between gradient steps."""
        return self.config.interval(trial)

    def step_weights(self, buffer: TrialBuffer) -> Float[Tensor, "B E H"]:
        """The weight of each step's log-probability: its advantage, or 1 for demonstrations."""
        if self.signal == "demos":
            return buffer.live.to(buffer.reward.dtype)
        config = self.config
        advantage = episode_advantages(
            buffer.reward,
            spaces.features(buffer.obs, self.agent.observation),
            buffer.live,
            gamma=config.inner_gamma,
            lam=config.inner_lam,
            baseline=config.inner_baseline,
        )
        return standardised(advantage, buffer.live, (1, 2))

    def tally(self, memory: Memory) -> dict[str, Int[Tensor, " B"]]:
        """Gradient steps taken and refused in each trial so far."""
        return {"grad_steps": memory.grad_steps, "refused_steps": memory.refused}

    def _on(self, own: Own) -> Any:
        """A context in which the network has each trial's own weights."""
        return self.trial_weights.on(self.agent.network, own)

    def _tune(self, memory: Memory, buffer: TrialBuffer, rows: Int[Tensor, " b"]) -> None:
        """Take all gradient steps of some rows on the episodes in ``buffer``, in place."""
        step_weights = self.step_weights(buffer)
        longest = int(buffer.live.flatten(1).sum(1).max())
        for some in rows.split(max(1, _STEPS_AT_ONCE // max(1, longest))):
            self._take_steps(memory, buffer, step_weights, some)

    def _take_steps(
        self,
        memory: Memory,
        buffer: TrialBuffer,
        step_weights: Float[Tensor, "B E H"],
        rows: Int[Tensor, " b"],
    ) -> None:
        """Take all gradient steps of some rows, in place."""
        config = self.config
        inner, own, moments, buffer, step_weights = tree.select(
            (memory.agent, memory.own, memory.moments, buffer, step_weights), rows
        )
        clip = config.inner_clip if self.signal == "reward" else None
        behaviour, taken = None, torch.zeros_like(rows)
        for _ in range(config.inner_steps):
            with torch.enable_grad():
                weights = [leaf.requires_grad_() for leaf in tree.leaves(own)]
                with self._on(own):
                    outputs = self.agent.policy_outputs(inner, buffer)
                log_prob, _ = self.agent.actions.log_prob_and_entropy(outputs, buffer.action)
                behaviour = log_prob.detach() if behaviour is None else behaviour
                gain = mean_gain(log_prob, behaviour, step_weights, buffer.live, clip)
                gradients = torch.autograd.grad(-gain.sum(), weights, allow_unused=True)
            if all(gradient is None for gradient in gradients):
                raise ContractError(
                    f"The outputs of {self.card.method} depend on none of the weights that are tuned."
                )
            gradients = [
                torch.zeros_like(weight) if gradient is None else gradient
                for weight, gradient in zip(weights, gradients, strict=True)
            ]
            own, options = (
                tree.detached(own),
                {"lr": config.inner_lr, "max_norm": config.inner_norm},
            )
            if config.inner_rule == "adam":
                own, moments, finite = adam(own, gradients, moments, **options)
            else:
                own, finite = sgd(own, gradients, **options)
            taken += finite
        tree.put(memory.own, rows, own)
        tree.put(memory.moments, rows, moments)
        memory.grad_steps[rows] += taken
        memory.refused[rows] += config.inner_steps - taken

    def _reread(self, memory: Memory, rng: Rows, episodes: int) -> Any:
        """The memory of the agent if the network, with its weights as they are now, had played the trial."""
        rng, buffer = rng.at("again"), memory.buffer
        inner = self.agent.start(memory.clues, buffer.trial, rng)
        with self._on(memory.own):
            for episode in range(episodes):
                begin = rng.at("begin", episode)
                inner = show(self.agent, inner, buffer.steps(episode), begin, episode=episode)
        return inner


def continue_training(agent: Agent, steps: int, **settings: Any) -> Agent:
    """The same agent with ``steps`` gradient steps at a time, on all weights that its actions depend on.

    Works for any learned agent with a memory, whose adaptation goes on as before (PEARL's encoder goes on inferring;
    its actor is tuned). An agent that takes gradient steps anyway (MAML, multi-task pretraining with fine-tuning) takes
    ``steps`` of these. An agent that is given its task (multi-task RL) has nothing to adapt to.

    Args:
        agent: a learned agent.
        steps: gradient steps each time.
        settings: other fields of ``GradientSteps``.

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
    weights = PerTrialWeights(agent.policy_modules)
    config = GradientSteps(inner_steps=steps, **settings)
    return FineTuned(agent, weights, config, card_of(agent, weights, "full_reward"))


def card_of(agent: Tunable, trial_weights: TrialWeights, name: str) -> Card:
    """The agent's card, with ``name`` before its method's name, gradient steps among the ways in which it adapts, and
    the number of weights a trial has of its own."""
    own = trial_weights.new(agent.network, Rows.of("count", torch.arange(1)))
    count = sum(leaf[0].numel() for leaf in tree.leaves(own))
    method = f"{name}_{agent.card.method}"
    adapts = "context, gradient" if "context" in agent.card.adapts else "gradient"
    return dataclasses.replace(agent.card, method=method, adapts=adapts, params_trained=count)
