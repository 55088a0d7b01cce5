"""Families of Gymnasium environments: as stepped by hand, from any state, and with ends kept apart."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from bridge.conformance import FAMILY_CHECKS
from bridge.errors import ContractError, UserError
from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Decision, Step, Trial
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete, Split, Tasks
from bridge.tasks.from_gymnasium import FromGymnasium
from bridge.tasks.simulators import Setting

LIMIT = 9


class Drift(gymnasium.Env):
    """A walk from a random place, with noise of its own, by ``stride``; it ends beyond 3, and in any case after 9."""

    observation_space = gymnasium.spaces.Box(-9.0, 9.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, stride: float) -> None:
        self.stride = stride

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.place, self.steps = self.np_random.uniform(-1, 1), 0
        return np.array([self.place]), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.place += self.stride * (2 * action - 1) + self.np_random.normal(0, 0.3)
        self.steps += 1
        over = abs(self.place) > 3
        return np.array([self.place]), float(self.place), over, self.steps == LIMIT, {}


@dataclass(frozen=True, kw_only=True)
class Drifts(FromGymnasium):
    name: ClassVar[str] = "drifts"

    def _support(self, split: Split) -> int:
        return 2

    def _sample(self, split: Split, index: Tensor, noise: Rows) -> dict[str, Tensor]:
        return {"environment": index}

    def setting(self, tasks: Tasks, row: int) -> Setting:
        return Setting(int(tasks.params["environment"][row]))

    def make(self, environment: int) -> gymnasium.Env:
        return Drift((0.1, 1.0)[environment])

    def trial(self, split: str) -> Trial:
        return Trial(2, LIMIT + 3)

    @property
    def observation(self) -> Box:
        return Box((-9.0,), (9.0,))

    @property
    def action(self) -> Discrete:
        return Discrete(2)

    def observed(self, observations: Sequence[Any]) -> Tensor:
        return torch.from_numpy(np.stack(observations)).float()

    def optimal_return(self, tasks: Tasks, trial: Trial) -> Tensor:
        return torch.full((len(tasks.index),), 9.0 * LIMIT)


class Watched(gymnasium.Wrapper):
    """Counts resets."""

    resets = 0

    def reset(self, **kwargs: Any) -> Any:
        self.resets += 1
        return super().reset(**kwargs)


class EndsOnTime(Drifts):
    def make(self, environment: int) -> gymnasium.Env:
        env = Drift(0.0)
        env.step = lambda action: (np.zeros(1), 0.0, True, True, {})
        return env


class Unseeded(Drifts):
    """Its environments read the seed at the first reset alone, as Meta-World's do."""

    def make(self, environment: int) -> gymnasium.Env:
        env = Drift(1.0)
        seeded = env.reset
        env.reset = lambda *, seed=None, options=None: seeded(
            seed=None if hasattr(env, "place") else seed
        )
        return env


def begun(rows: int = 6) -> tuple[Drifts, Tasks, Rows]:
    family, ids = Drifts(), torch.arange(rows)
    return family, family.sample("id", ids), Rows.of(0, ids)


class Onward(Random):
    """Always the same action."""

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        return Decision(torch.ones(len(obs), dtype=torch.int64))


def walked(family: Drifts, rows: int) -> list[Step]:
    """The steps of one episode of walking in one direction."""
    steps: list[Step] = []
    ids = torch.arange(rows)
    play_episode(
        Onward(family),
        family,
        family.sample("id", ids),
        (),
        TrialNoise.of(0, ids),
        episode=0,
        horizon=LIMIT + 3,
        visit=lambda _t, step, _decision: steps.append(step),
    )
    return steps


@pytest.mark.parametrize("rule", FAMILY_CHECKS)
def test_it_keeps_the_contract(rule):
    FAMILY_CHECKS[rule](Drifts())


def test_rows_are_environments_stepped_by_hand():
    family, tasks, noise = begun()
    state, obs = family.reset(tasks, noise)
    envs = [family.make(row % 2) for row in range(6)]
    starts = [env.reset(seed=seed)[0] for env, seed in zip(envs, state.seed.tolist(), strict=True)]
    assert obs.numpy() == pytest.approx(np.stack(starts))
    live = [True] * 6
    for t in range(LIMIT):
        action = (torch.arange(6) + t) % 5 % 2
        outcome = family.step(tasks, state, action, noise)
        terminated, truncated = outcome.ends()
        for row in (row for row in range(6) if live[row]):
            expected, reward, over, late, _ = envs[row].step(int(action[row]))
            assert outcome.obs[row].numpy() == pytest.approx(expected)
            assert outcome.reward[row].item() == pytest.approx(reward)
            assert (terminated[row].item(), truncated[row].item()) == (over, late and not over)
            live[row] = not (over or late)
        state = outcome.state
    assert not any(live)


def test_a_state_of_before_leads_to_the_same_outcome():
    family, tasks, noise = begun()
    state, _ = family.reset(tasks, noise)
    action = torch.ones(6, dtype=torch.int64)
    first = family.step(tasks, state, action, noise)
    on = family.step(tasks, first.state, action, noise)
    family.step(tasks, on.state, 1 - action, noise)
    again = family.step(tasks, first.state, action, noise)
    assert torch.equal(again.obs, on.obs)
    assert torch.equal(again.reward, on.reward)


def test_going_on_replays_nothing():
    family, tasks, noise = begun()
    state, _ = family.reset(tasks, noise)
    watched = family._stage._envs[:] = [Watched(env) for env in family._stage._envs]
    for _ in range(LIMIT + 3):
        state = family.step(tasks, state, torch.ones(6, dtype=torch.int64), noise).state
    assert not any(env.resets for env in watched)


def test_a_time_limit_truncates_and_an_end_terminates():
    steps = walked(Drifts(), rows=6)
    terminated, truncated = (
        torch.stack([getattr(step, name) for step in steps]).sum(0).tolist()
        for name in ("terminated", "truncated")
    )
    assert terminated == [0, 1] * 3
    assert truncated == [1, 0] * 3
    assert len(steps) == LIMIT


def test_an_end_in_the_last_step_in_time_is_a_termination():
    last = walked(EndsOnTime(), rows=2)[-1]
    assert last.terminated.all()
    assert not last.truncated.any()


def test_an_episode_that_is_over_stays_as_it_is():
    family, tasks, noise = begun()
    state, _ = family.reset(tasks, noise)
    action = torch.ones(6, dtype=torch.int64)
    for _ in range(LIMIT):
        last = family.step(tasks, state, action, noise)
        state = last.state
    after = family.step(tasks, state, 1 - action, noise)
    assert after.reward.tolist() == [0.0] * 6
    assert torch.equal(after.obs, last.obs)
    assert torch.equal(after.state.taken, state.taken)


def test_every_episode_has_a_seed_of_its_own():
    family, tasks, noise = begun()
    seeds = [family.reset(tasks, noise.at(k))[0].seed for k in range(2)]
    assert len(set(torch.cat(seeds).tolist())) == 12


@pytest.mark.parametrize("rule", ["step_is_a_function", "rows_are_independent"])
def test_the_kit_finds_an_environment_that_its_seed_does_not_fix(rule):
    with pytest.raises(ContractError, match=rule):
        FAMILY_CHECKS[rule](Unseeded())


def test_another_process_makes_its_own_simulators():
    family, tasks, noise = begun()
    family.reset(tasks, noise)
    sent = pickle.loads(pickle.dumps(family))
    assert sent == family
    assert "_stage" not in vars(sent)


class Raises(Drifts):
    """Its environments raise at the third step, and one of them as it is reset."""

    def make(self, environment: int) -> gymnasium.Env:
        env = Drift(0.1)
        step = env.step

        def third(action):
            if env.steps == 2:
                raise RuntimeError("the motor is on fire")
            return step(action)

        env.step = third
        if environment:
            env.reset = lambda **_given: {}["wheel"]
        return env


def test_an_environment_that_raises_is_named_with_its_task_and_step():
    family = Raises()
    tasks, noise = family.sample("id", torch.tensor([0, 0])), Rows.of(0, torch.arange(2))
    state, _ = family.reset(tasks, noise)
    action = torch.ones(2, dtype=torch.int64)
    for _ in range(2):
        state = family.step(tasks, state, action, noise).state
    with pytest.raises(UserError, match=r"task 0 of drifts raised in step 2: .*motor is on fire"):
        family.step(tasks, state, action, noise)
    with pytest.raises(UserError, match=r"task 1 of drifts raised as it was reset: KeyError"):
        family.reset(family.sample("id", torch.tensor([1])), noise[:1])
    again, _ = family.reset(tasks, noise)  # a row that raised begins anew
    assert family.step(tasks, again, action, noise).state.taken.tolist() == [1, 1]


class SecondRaises(Drifts):
    """The environment of task 1 raises at its first step."""

    def make(self, environment: int) -> gymnasium.Env:
        env = Drift(0.1)
        if environment:
            env.step = lambda action: {}["wheel"]
        return env


def test_rows_before_one_that_raises_do_not_stand_a_step_ahead():
    family, noise = SecondRaises(), Rows.of(0, torch.arange(2))
    tasks, action = family.sample("id", torch.arange(2)), torch.ones(2, dtype=torch.int64)
    state, obs = family.reset(tasks, noise)
    with pytest.raises(UserError, match="task 1 of drifts raised in step 0"):
        family.step(tasks, state, action, noise)
    _, again = family.reset(tasks, noise)
    assert torch.equal(again, obs)


def test_a_row_keeps_its_environments_and_not_more_than_eight():
    made = []

    class Counted(Drifts):
        def _support(self, split: Split) -> int:
            return 20

        def make(self, environment: int) -> gymnasium.Env:
            made.append(environment)
            return Drift(0.1)

    family, noise = Counted(), Rows.of(0, torch.arange(1))
    for task in (*range(8), *range(8), 8, 0):
        family.reset(family.sample("id", torch.tensor([task])), noise.at(task, len(made)))
    assert made == [*range(9), 0]
