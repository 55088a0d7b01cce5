"""The in-context agent: a transformer policy that adapts by what it has read. No weight moves at test.

Its memory is the cache of its policy and the last transition, which the next token tells. Beyond the policy's window
the oldest transitions are forgotten.

Shape letters: B trials, T steps.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridge import memory as tree
from bridge import spaces
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete
from bridge.test_time.trial_buffer import TrialBuffer, live_first
from llm_adapt.cache import Cache, write
from llm_adapt.policy import TransformerPolicy
from llm_adapt.tokens import Transition


class Memory(NamedTuple):
    """Everything the agent knows of its task."""

    cache: Cache
    last: Transition


class InContext(nn.Module):
    """The frozen agent."""

    policy_modules: ClassVar[tuple[str, ...]] = ("embed", "backbone", "actor")
    reads: ClassVar[Literal["trial", "episode"]] = "trial"
    """Of what it keeps its past; with the end of that it forgets."""

    def __init__(self, policy: TransformerPolicy, card: Card) -> None:
        super().__init__()
        self.policy, self.card = policy, card

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        span = self.past(trial).episodes * trial.horizon + 1  # one may ask what it would do next
        return Memory(self.policy.new_cache(len(rng), span), self.policy.layout.nothing_yet(rng))

    @classmethod
    def past(cls, trial: Trial) -> Trial:
        """What of ``trial`` it can remember at most."""
        return trial if cls.reads == "trial" else Trial(1, trial.horizon)

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        return memory

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        reading = self.policy.read(self.policy.layout.token(obs, memory.last), memory.cache)
        out, noise = _single(reading.out), rng if explore else None
        return self.policy.actions.decide(out, noise, self.card.temperature)._replace(
            carry=reading.entry
        )

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        """One more token in the cache, that of this step's observation; the transition is for the next one."""
        entry = carry
        if entry is None:
            entry = self.policy.read(
                self.policy.layout.token(step.obs, memory.last), memory.cache
            ).entry
        cache = write(memory.cache, entry, step.live)
        return Memory(cache, tree.where(step.live, Transition.of(step), memory.last))

    def absorb(self, memory: Memory, steps: list[Step]) -> Memory:
        """Steps read in one pass, those that a row lived."""
        columns = zip(*(Transition.of(step) for step in steps), strict=True)
        everyone = torch.ones_like(steps[0].terminated)
        live = torch.stack([everyone if step.live is None else step.live for step in steps], 1)
        count, row, order = (
            live.sum(1),
            torch.arange(len(live), device=live.device)[:, None],
            live_first(live),
        )
        lived = Transition(*(torch.stack(column, 1)[row, order] for column in columns))
        cache = self.policy.absorb(
            self.policy.layout.trial(lived, memory.last), memory.cache, count
        )
        newest = Transition(*(part[row[:, 0], (count - 1).clamp(min=0)] for part in lived))
        return Memory(cache, tree.where(count > 0, newest, memory.last))

    def adapt(self, memory: Memory, rng: Rows, *, episode: int, last: bool) -> Memory:
        return memory

    @property
    def network(self) -> TransformerPolicy:
        """What decides."""
        return self.policy

    @property
    def observation(self) -> Discrete | Box:
        """The space of observations."""
        return self.policy.layout.observation

    @property
    def action(self) -> Discrete | Box:
        """The space of actions."""
        return self.policy.layout.action

    @property
    def actions(self) -> spaces.Actions:
        """The distributions of actions."""
        return self.policy.actions

    def policy_outputs(self, memory: Memory, lived: TrialBuffer) -> Float[Tensor, "B E H A"]:
        """The policy's output at every step of a trial, read in one pass; differentiable."""
        steps, layout = lived.packed(), self.policy.layout
        end = (steps.terminated | steps.truncated).to(steps.reward.dtype)
        read = Transition(steps.obs, steps.action, steps.reward, steps.next_obs, end)
        tokens = layout.trial(
            read, layout.nothing_yet(Rows(torch.zeros_like(end[:, 0], dtype=torch.int64)))
        )
        return lived.unpacked(_single(self.policy.actor(self.policy.hidden(tokens))))


def _single(out: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
    """Outputs in half precision as float32, in which distributions are computed; others as they are."""
    return out.float() if out.dtype in (torch.bfloat16, torch.float16) else out
