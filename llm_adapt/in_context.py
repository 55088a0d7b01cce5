"""The in-context agent: a transformer policy that adapts by reading its trial. No weight moves at test.

Its memory is the policy's cache and the last transition, which is part of the next token. The oldest transitions slide
out of the policy's window.

Shape letters: B trials, T steps.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridge import memory as tree
from bridge.idle import Idle
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.test_time.trial_buffer import TrialBuffer, live_first
from bridge.transitions import stacked
from llm_adapt.cache import Cache, write
from llm_adapt.policy import TransformerPolicy
from llm_adapt.tokens import Transition


class Memory(NamedTuple):
    """The cache of what was read, and the transition that the next token holds."""

    cache: Cache
    last: Transition


class InContext(Idle, nn.Module):
    """The frozen agent."""

    policy_modules: ClassVar[tuple[str, ...]] = ("embed", "backbone", "actor")
    reads: ClassVar[Literal["trial", "episode"]] = "trial"
    """Scope of the context: cleared at the end of each trial or each episode."""

    def __init__(self, policy: TransformerPolicy, card: Card) -> None:
        super().__init__()
        self.policy, self.card = policy, card
        self.observation, self.action = policy.layout.observation, policy.layout.action
        self.actions = policy.actions

    @property
    def network(self) -> TransformerPolicy:
        """The network that decides."""
        return self.policy

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        context = self.past(trial)
        span = context.episodes * context.horizon + 1  # a query after the last step is a token, too
        return Memory(self.policy.new_cache(len(rng), span), self.policy.layout.nothing_yet(rng))

    @classmethod
    def past(cls, trial: Trial) -> Trial:
        """The part of ``trial`` that the context can hold."""
        return trial if cls.reads == "trial" else Trial(1, trial.horizon)

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        reading = self.policy.read(self.policy.layout.token(obs, memory.last), memory.cache)
        out, noise = _single(reading.out), rng if explore else None
        decision = self.actions.decide(out, noise, self.card.temperature)
        return decision._replace(carry=reading.entry)

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        """Write this step's token into the cache. The step's transition is part of the next token."""
        entry = carry
        if entry is None:
            token = self.policy.layout.token(step.obs, memory.last)
            entry = self.policy.read(token, memory.cache).entry
        cache = write(memory.cache, entry, step.live)
        return Memory(cache, tree.where(step.live, Transition.of(step), memory.last))

    def absorb(self, memory: Memory, steps: list[Step]) -> Memory:
        """Read many steps in one pass, of each row those in which it acted."""
        recorded = stacked(steps)
        count, order = recorded.live.sum(1), live_first(recorded.live)
        played = tree.places(Transition.of(recorded), order)
        tokens = self.policy.layout.trial(played, memory.last)
        cache = self.policy.absorb(tokens, memory.cache, count)
        row = torch.arange(len(count), device=count.device)
        newest = tree.select(played, (row, (count - 1).clamp(min=0)))
        return Memory(cache, tree.where(count > 0, newest, memory.last))

    def represent(self, memory: Memory, obs: Tensor) -> Float[Tensor, "B H"]:
        """The decoder's last hidden state at the token of this observation."""
        return _single(
            self.policy.hidden_next(self.policy.layout.token(obs, memory.last), memory.cache)
        )

    def policy_outputs(self, memory: Memory, buffer: TrialBuffer) -> Float[Tensor, "B E H A"]:
        """The policy's output at every step of a trial, read in one pass; differentiable."""
        steps, layout = Transition.of(buffer.packed()), self.policy.layout
        rows = Rows.without_draws(steps.end)
        tokens = layout.trial(steps, layout.nothing_yet(rows))
        return buffer.unpacked(_single(self.policy.actor(self.policy.hidden(tokens))))


def _single(out: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
    """Half-precision outputs as float32, in which distributions are computed; others unchanged."""
    return out.float() if out.dtype in (torch.bfloat16, torch.float16) else out
