"""Families and an agent that keep every rule, small enough to be broken one rule at a time.

Shape letters: B trials, A = 2 actions.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from bridge import memory as tree
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import Axis, Box, Discrete, Outcome, Split, TaskFamily, Tasks, device_zeros


@dataclass(frozen=True, kw_only=True)
class Corridor(TaskFamily):
    """Walk left or right from the middle; one end, which one is hidden, pays and ends the episode; steps may slip."""

    half: int = 2
    """Cells on each side of the middle."""

    name: ClassVar[str] = "corridor"
    ends_early: ClassVar[bool] = True

    @property
    def axes(self) -> dict[str, Axis]:
        return {
            "horizon": Axis("steps", (6.0, 3.0, 9.0, 12.0, 24.0), "all"),
            "slip": Axis("probability of going the other way", (0.1, 0.2, 0.3, 0.4, 0.5), "all"),
        }

    def _sample(self, split: Split, index: Tensor, noise: Rows) -> dict[str, Tensor]:
        slip = torch.full(index.shape, self.value(split, "slip", 0.1))
        return {"side": noise.at("side").uniform(), "slip": slip}

    @property
    def observation(self) -> Discrete:
        return Discrete(2 * self.half + 1)

    @property
    def action(self) -> Discrete:
        return Discrete(2)

    def trial(self, split: str) -> Trial:
        return Trial(3, int(self.value(self.split(split), "horizon", 6.0)))

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[Tensor, Tensor]:
        middle = device_zeros(tasks) + self.half
        return middle, middle

    def step(self, tasks: Tasks, state: Tensor, action: Tensor, noise: Rows) -> Outcome:
        slipped = noise.at("slip").uniform() < tasks.params["slip"]
        state = (state + torch.where(slipped, 1 - 2 * action, 2 * action - 1)).clamp(
            0, 2 * self.half
        )
        found = self._found(tasks, state)
        reward = found.float() + 0.2 * noise.at("reward").uniform()
        return Outcome(state, state, reward, found)

    def _found(self, tasks: Tasks, state: Tensor) -> Tensor:
        return state == torch.where(tasks.params["side"] < 0.5, 0, 2 * self.half)

    def optimal_return(self, tasks: Tasks, trial: Trial) -> Tensor:
        """A bound: paid for the end and the most for every step."""
        return torch.full(tasks.index.shape, 1 + 0.2 * trial.horizon)

    def expected_reward(self, tasks: Tasks, step: Step) -> Tensor:
        return self._found(tasks, step.next_obs).float() + 0.1

    def success(self, tasks: Tasks, step: Step) -> Tensor:
        return self._found(tasks, step.next_obs)


@dataclass(frozen=True, kw_only=True)
class Reach(TaskFamily):
    """Move a point in a square, by at most 0.1 a step and axis, towards a hidden target that is paid by nearness."""

    name: ClassVar[str] = "reach"

    @property
    def axes(self) -> dict[str, Axis]:
        return {"wind": Axis("standard deviation of moves", (0.0, 0.1, 0.2, 0.3, 0.4), "all")}

    def _sample(self, split: Split, index: Tensor, noise: Rows) -> dict[str, Tensor]:
        wind = torch.full(index.shape, self.value(split, "wind", 0.0))
        return {"target": 2 * noise.at("target").uniform(2) - 1, "wind": wind}

    @property
    def observation(self) -> Box:
        return Box((-1.0, -1.0), (1.0, 1.0))

    @property
    def action(self) -> Box:
        return Box((-0.1, -0.1), (0.1, 0.1))

    def trial(self, split: str) -> Trial:
        return Trial(2, 5)

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[Tensor, Tensor]:
        place = 2 * noise.uniform(2) - 1
        return place, place

    def step(self, tasks: Tasks, state: Tensor, action: Tensor, noise: Rows) -> Outcome:
        state = (state + action + tasks.params["wind"][:, None] * noise.normal(2)).clamp(-1, 1)
        return Outcome(state, state, -(state - tasks.params["target"]).abs().sum(-1))

    def optimal_return(self, tasks: Tasks, trial: Trial) -> Tensor:
        """A bound."""
        return torch.zeros(len(tasks.index))


class Notes(NamedTuple):
    """What ``Tally`` knows: what each action paid, a recurrent state, the last reward and a latent of this episode."""

    paid: Tensor
    hidden: Tensor
    last: Tensor
    latent: Tensor


class Tally:
    """Prefers what paid; its recurrent state makes ``carry``, ``absorb`` and episode boundaries worth checking."""

    def __init__(self, family: Any, **card: Any) -> None:
        self.actions = family.action.n
        self.card = Card(method="tally", supervision="reward", **card)
        self.weight = torch.linspace(-1, 1, self.actions)

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Notes:
        zero = torch.zeros(len(rng))
        return Notes(torch.zeros(len(rng), self.actions), zero, zero, zero)

    def begin(self, memory: Notes, rng: Rows, *, episode: int) -> Notes:
        return memory._replace(latent=rng.normal())

    def _read(self, memory: Notes, obs: Tensor) -> Tensor:
        return torch.tanh(
            0.5 * memory.hidden + memory.last + 0.1 * obs.float().view(len(obs), -1).sum(-1)
        )

    def act(self, memory: Notes, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        hidden = self._read(memory, obs)
        logits = memory.paid + (hidden + 0.3 * memory.latent)[:, None] * self.weight
        action = rng.categorical(torch.softmax(logits, -1)) if explore else logits.argmax(-1)
        return Decision(action, logits, carry=hidden)

    def observe(self, memory: Notes, step: Step, carry: Any = None) -> Notes:
        hidden = self._read(memory, step.obs) if carry is None else carry
        paid = memory.paid.scatter_add(1, step.action[:, None], step.reward[:, None])
        return tree.where(
            step.live, memory._replace(paid=paid, hidden=hidden, last=step.reward), memory
        )

    def absorb(self, memory: Notes, steps: list[Step]) -> Notes:
        for step in steps:
            memory = self.observe(memory, step)
        return memory

    def adapt(self, memory: Notes, rng: Rows, *, episode: int, last: bool) -> Notes:
        return memory._replace(paid=0.9 * memory.paid)
