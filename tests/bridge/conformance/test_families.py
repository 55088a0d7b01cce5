"""The kit passes families that keep the rules, and names the rule that another one breaks."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from bridge.conformance import AGENT_CHECKS, FAMILY_CHECKS, check_family, verdicts
from bridge.errors import ContractError
from bridge.rng import Rows
from bridge.tasks import FAMILIES
from bridge.tasks import family as make_family
from bridge.tasks.base import Axis, Box, Discrete, Outcome
from bridge.tasks.gym_family import GymFamily
from tests.bridge.short import SHORT
from tests.bridge.toys import Corridor, Reach, Tally

AnyCorridor: Any = Corridor  # what breaks the contract does not fit its types
PLAYED = {name: cls() for name, cls in FAMILIES.items()}
LONG = (
    "minigrid",
    "metaworld",
    "ant_dir",
    "ant_goal",
    "cheetah_vel",
    "cheetah_dir",
    "walker_params",
)
PLAYED |= {name: make_family(SHORT[name]) for name in LONG}


# --- what keeps the rules passes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", FAMILY_CHECKS)
@pytest.mark.parametrize(
    "family",
    [Corridor(), Reach(), *PLAYED.values()],
    ids=lambda family: family.name,
)
def test_every_family_keeps_every_rule(rule: str, family: Any) -> None:
    FAMILY_CHECKS[rule](family)


def test_a_fixed_set_of_tasks_keeps_every_rule() -> None:
    check_family(Corridor(tasks=5))


# --- families that break one rule -------------------------------------------------------------------------------------


class NoValidation(AnyCorridor):
    splits = ("train", "id")


class StandsStill(AnyCorridor):
    axes: ClassVar = {"slip": Axis("", (0.1, 0.1, 0.2, 0.3, 0.4), "")}


IDLE = {"idle": Axis("nothing", (0.0, 1.0, 2.0, 3.0, 4.0), "nobody")}


class MovesNothing(AnyCorridor):
    axes: ClassVar = Corridor().axes | IDLE


class MovesWhatNobodyReads(MovesNothing):
    def _sample(self, split: Any, index: Any, noise: Rows) -> Any:
        return super()._sample(split, index, noise) | {
            "idle": torch.full(index.shape, float(split.level))
        }


class NeverSlips(AnyCorridor):
    def step(self, tasks: Any, *args: Any) -> Outcome:
        return super().step(
            tasks._replace(params={"side": tasks.params["side"], "slip": torch.zeros(1)}), *args
        )


class RoundsItsLevels(AnyCorridor):
    def _sample(self, split: Any, index: Any, noise: Rows) -> Any:
        params = super()._sample(split, index, noise)
        return params | {"slip": (5 * params["slip"]).round() / 5}


class CopiesParameters(AnyCorridor):
    def step(self, tasks: Any, *args: Any) -> Outcome:
        return super().step(tasks._replace(params=dict(tasks.params)), *args)


class UnpacksParameters(AnyCorridor):
    def step(self, tasks: Any, *args: Any) -> Outcome:
        return super().step(tasks._replace(params={**tasks.params}), *args)


@pytest.mark.parametrize("family", [CopiesParameters, UnpacksParameters])
def test_a_copy_of_parameters_is_a_read_of_them(family: Any) -> None:
    FAMILY_CHECKS["levels_move"](family())


class NamesNothing(AnyCorridor):
    id = "corridor"


class HalfAStep(AnyCorridor):
    def trial(self, split: str) -> Any:
        return super().trial(split)._replace(horizon=6.5)


class SharedState(AnyCorridor):
    def reset(self, *args: Any) -> Any:
        return torch.tensor(2), super().reset(*args)[1]


class OffTheMap(AnyCorridor):
    observation = Discrete(3)


class WrongSpace(AnyCorridor):
    observation = Box((0.0,), (4.0,))


class DoubleRewards(AnyCorridor):
    def step(self, *args: Any) -> Outcome:
        outcome = super().step(*args)
        return outcome._replace(reward=outcome.reward.double())


class NanOnOneSplit(AnyCorridor):
    def step(self, tasks: Any, *args: Any) -> Outcome:
        outcome = super().step(tasks, *args)
        return outcome._replace(
            reward=torch.where(tasks.params["slip"] == 0.5, torch.nan, outcome.reward)
        )


class OneSuccessForAll(AnyCorridor):
    def success(self, *args: Any) -> Any:
        return super().success(*args).any()


class EndsUnannounced(AnyCorridor):
    ends_early = False


class TimesOutUnannounced(AnyCorridor):
    ends_early = False

    def step(self, *args: Any) -> Outcome:
        outcome = super().step(*args)
        return outcome._replace(terminated=None, truncated=outcome.terminated)


class EndsInFloats(AnyCorridor):
    def step(self, *args: Any) -> Outcome:
        outcome = super().step(*args)
        return outcome._replace(terminated=outcome.terminated.float())


class InPlace(AnyCorridor):
    def step(self, tasks: Any, state: Any, action: Any, noise: Rows) -> Outcome:
        outcome = super().step(tasks, state, action, noise)
        state.copy_(outcome.state)
        return outcome


class MovesTheAction(AnyCorridor):
    def step(self, tasks: Any, state: Any, action: Any, noise: Rows) -> Outcome:
        outcome = super().step(tasks, state, action, noise)
        action.clamp_(max=0)
        return outcome


class CountsSteps(AnyCorridor):
    calls: ClassVar = []

    def step(self, *args: Any) -> Outcome:
        self.calls.append(1)
        outcome = super().step(*args)
        return outcome._replace(reward=outcome.reward + len(self.calls))


class CentredRewards(AnyCorridor):
    def step(self, *args: Any) -> Outcome:
        outcome = super().step(*args)
        return outcome._replace(reward=outcome.reward - outcome.reward.mean())


class NoiseNamedByAction(AnyCorridor):
    def step(self, tasks: Any, state: Any, action: Any, noise: Rows) -> Outcome:
        return super().step(tasks, state, action, noise.at(action))


class MoreNoiseForSome(AnyCorridor):
    def step(self, tasks: Any, state: Any, action: Any, noise: Rows) -> Outcome:
        if bool((action == action[0]).all()) is False:
            noise.at("more").uniform()
        return super().step(tasks, state, action * 0 + action[0], noise)


class RemembersActions(AnyCorridor):
    before: ClassVar = {}

    def step(self, tasks: Any, state: Any, action: Any, noise: Rows) -> Outcome:
        outcome = super().step(tasks, state, action, noise)
        previous = self.before.get(len(action), action)
        self.before[len(action)] = action
        return outcome._replace(reward=outcome.reward + previous)


class StateAcrossRows(AnyCorridor):
    def reset(self, *args: Any) -> Any:
        state, obs = super().reset(*args)
        return state[None], obs

    def step(self, tasks: Any, state: Any, action: Any, noise: Rows) -> Outcome:
        outcome = super().step(tasks, state[0], action, noise)
        return outcome._replace(state=outcome.state[None])


class GlobalReset(AnyCorridor):
    def reset(self, *args: Any) -> Any:
        torch.rand(1)
        return super().reset(*args)


class TasksByPosition(AnyCorridor):
    def _sample(self, split: Any, index: Any, noise: Rows) -> Any:
        return super()._sample(split, index, Rows.of(0, torch.arange(len(index))))


class OneStream(AnyCorridor):
    def _sample(self, split: Any, index: Any, noise: Rows) -> Any:
        return super()._sample(split, index, Rows.of(0, index))


class TrainingGoalsInTheShell(AnyCorridor):
    axes: ClassVar = {"goal_shell": Axis("", (0.0, 1.0, 2.0, 3.0, 4.0), "")}

    def _support(self, split: Any) -> int:
        return 4

    def _sample(self, split: Any, index: Any, noise: Rows) -> Any:
        return {"side": (index + split.level) / 10.0, "slip": torch.full(index.shape, 0.1)}


class NothingHeldOut(AnyCorridor):
    """Of a continuum, no two tasks are ever the same; these are drawn from where training tasks are."""

    axes: ClassVar = {"ring": Axis("", (0.0, 1.0, 2.0, 3.0, 4.0), "")}


@dataclass(frozen=True, kw_only=True)
class LeakyStreams(AnyCorridor):
    def _support(self, split: Any) -> int:
        return 4

    def _sample(self, split: Any, index: Any, noise: Rows) -> Any:
        first = {"train": 0, "id_val": 2, "id": 4}[split.stream]
        return {"side": (index + first) / 10.0, "slip": torch.full(index.shape, 0.1)}


class TwoTasks(AnyCorridor):
    def _sample(self, split: Any, index: Any, noise: Rows) -> Any:
        params = super()._sample(split, index, noise)
        return params | {"side": params["side"].round()}


class FixedEverywhere(AnyCorridor):
    def support(self, split: str, *, whole: bool = False) -> int | None:
        return self.tasks or None


class LevelZeroMoves(AnyCorridor):
    def _sample(self, split: Any, index: Any, noise: Rows) -> Any:
        params = super()._sample(split, index, noise)
        return params | ({"moved": params["slip"]} if split.axis == "slip" else {})


class LevelZeroIsLonger(AnyCorridor):
    def trial(self, split: str) -> Any:
        return super().trial(split)._replace(episodes=4 if "horizon" in split else 3)


class OneHash(AnyCorridor):
    hash = "000000000000"


class HalfTheMean(AnyCorridor):
    def expected_reward(self, *args: Any) -> Any:
        return super().expected_reward(*args) - 0.05


class NothingToGain(AnyCorridor):
    def optimal_return(self, *args: Any) -> Any:
        return torch.zeros_like(super().optimal_return(*args))


class OneBestReturn(AnyCorridor):
    def optimal_return(self, *args: Any) -> Any:
        return super().optimal_return(*args)[:1]


class StopsShort(AnyCorridor):
    def curve_points(self, trial: Any) -> tuple[int, ...]:
        return tuple(range(1, trial.episodes)) or (1,)


def TellsTheTask() -> GymFamily:  # noqa: N802 (it stands for a class)
    """An episode of MountainCar begins nearer to the goal in some tasks."""
    return GymFamily.of("MountainCar-v0", vary={"reset.low": (-0.6, -0.4)}, steps=12)


def VariesNothing() -> GymFamily:  # noqa: N802
    """Acrobot's equations read the length of the first link alone."""
    varied = {"LINK_LENGTH_1": (0.5, 1.5), "LINK_LENGTH_2": (0.5, 1.5)}
    return GymFamily.of("Acrobot-v1", vary=varied, steps=20)


BROKEN_FAMILIES: list[tuple[str, Any]] = [
    ("splits_are_named", NoValidation),
    ("splits_are_named", StandsStill),
    ("levels_move", MovesNothing),
    ("levels_move", MovesWhatNobodyReads),
    ("levels_move", NeverSlips),
    ("levels_move", RoundsItsLevels),
    ("id_spells_the_family", NamesNothing),
    ("every_split_plays", HalfAStep),
    ("every_split_plays", SharedState),
    ("observations_fit", OffTheMap),
    ("observations_fit", WrongSpace),
    ("rewards_fit", DoubleRewards),
    ("rewards_fit", NanOnOneSplit),
    ("rewards_fit", OneSuccessForAll),
    ("endings_are_separate", EndsUnannounced),
    ("endings_are_separate", TimesOutUnannounced),
    ("endings_are_separate", EndsInFloats),
    ("step_is_a_function", InPlace),
    ("step_is_a_function", MovesTheAction),
    ("step_is_a_function", CountsSteps),
    ("rows_are_independent", CentredRewards),
    ("draws_ignore_actions", NoiseNamedByAction),
    ("draws_ignore_actions", MoreNoiseForSome),
    ("draws_ignore_actions", RemembersActions),
    ("dead_rows_stand_still", StateAcrossRows),
    ("noise_is_named", GlobalReset),
    ("tasks_depend_on_index_alone", TasksByPosition),
    ("streams_differ", OneStream),
    ("held_out_tasks_are_new", TrainingGoalsInTheShell),
    ("held_out_tasks_are_new", NothingHeldOut),
    ("held_out_tasks_are_new", LeakyStreams),
    ("fixed_tasks_are_distinct", TwoTasks),
    ("fixed_tasks_are_distinct", FixedEverywhere),
    ("level_zero_is_id", LevelZeroMoves),
    ("level_zero_is_id", LevelZeroIsLonger),
    ("hash_distinguishes_tasks", OneHash),
    ("expected_reward_is_the_mean", HalfTheMean),
    ("optimal_return_is_a_bound", NothingToGain),
    ("optimal_return_is_a_bound", OneBestReturn),
    ("first_observation_hides_the_task", TellsTheTask),
    ("all_that_varies_matters", VariesNothing),
    ("curve_points_end_with_the_trial", StopsShort),
]


@pytest.mark.parametrize(
    ("rule", "family"),
    BROKEN_FAMILIES,
    ids=[f"{rule}-{family.__name__}" for rule, family in BROKEN_FAMILIES],
)
def test_the_kit_names_the_rule_that_a_family_breaks(rule: str, family: Any) -> None:
    with pytest.raises(ContractError, match=rule):
        FAMILY_CHECKS[rule](family(half=3) if rule == "id_spells_the_family" else family())


def test_every_family_rule_has_a_family_that_breaks_it() -> None:
    assert {rule for rule, _ in BROKEN_FAMILIES} == FAMILY_CHECKS.keys()


# --- what a breach says -----------------------------------------------------------------------------------------------


def test_verdicts_runs_every_rule_and_stops_at_none() -> None:
    found = {
        verdict.rule: verdict.error is None for verdict in verdicts(FAMILY_CHECKS, DoubleRewards())
    }
    assert list(found) == list(FAMILY_CHECKS)
    assert not found["rewards_fit"]
    assert found["observations_fit"]
    of_agent = list(verdicts(AGENT_CHECKS, Tally(Corridor()), Corridor(), "train"))
    assert [verdict.rule for verdict in of_agent] == list(AGENT_CHECKS)
    assert all(verdict.sentence.endswith(".") and verdict.error is None for verdict in of_agent)
