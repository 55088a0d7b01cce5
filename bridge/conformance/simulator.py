"""The rules for a family's simulator, one function each: ``reset``, ``step``, and the evaluator's other methods."""

from __future__ import annotations

from itertools import pairwise

import torch

from bridge import memory as tree
from bridge import spaces
from bridge.conformance.compare import same_rows
from bridge.conformance.random_steps import (
    ROWS,
    SUBSETS,
    noise_of,
    other_action,
    walk,
    walk_everywhere,
)
from bridge.conformance.recorded_noise import recorded_draws
from bridge.conformance.rules import (
    OTHER_KIND,
    LeftOut,
    demand,
    demand_form,
    demand_rows,
    demand_same,
    demand_within,
    rule,
)
from bridge.conformance.snapshot import no_global_draws, other_python_noise
from bridge.noise import TrialNoise
from bridge.play import play_episode, transition
from bridge.protocol import Clues, Trial
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily, Tasks
from bridge.tasks.gym_family import GymFamily

_REPEATS, _GROUPS = 1024, 4
_BOUNDED_ROWS = 128
_SAME = Rows.of("conformance", torch.zeros(ROWS, dtype=torch.int64))
"""The same noise in every row."""
_WALKED = 100
"""Steps in which what varies has to matter."""


# --- results ----------------------------------------------------------------------------------------------------------


@rule
def every_split_plays(family: TaskFamily) -> None:
    """Every split has a trial of whole numbers, and an episode whose state leads with the trials."""
    for split in family.splits:
        trial = family.trial(split)
        demand(
            all(isinstance(bound, int) and bound >= 1 for bound in trial),
            expected=f"whole numbers >= 1 on {split}",
            found=trial,
            remedy="Round and clip the axis.",
        )
    for split, moment in walk_everywhere(family):
        states = (moment.state, moment.outcome.state)
        demand_rows(
            states, ROWS, f"a state on {split}", "Give every row its own state.", step=moment.t
        )


@rule
def observations_fit(family: TaskFamily) -> None:
    """Every observation, the first too, lies in the observation space, with its shape and dtype."""
    space = family.observation
    for split, moment in walk_everywhere(family):
        for t, obs in ((moment.t, moment.obs), (moment.t + 1, moment.outcome.obs)):
            what = f"observations on {split}"
            remedy = "Return an observation a row, as declared by the space."
            demand_form(obs, space.dtype, (ROWS, *space.shape), what, remedy, step=t)
            demand_within(space, obs, what, "Widen the space or clip the state.", step=t)


@rule
def rewards_fit(family: TaskFamily) -> None:
    """Rewards are finite float32, one a row; success is None or a bool a row."""
    for split, moment in walk_everywhere(family):
        t, reward = moment.t, moment.outcome.reward
        what = f"rewards on {split}"
        demand_form(reward, torch.float32, (ROWS,), what, "Return one a row.", step=t)
        demand(
            reward.isfinite(),
            expected=f"finite {what}",
            found=reward,
            remedy="Bound them.",
            step=t,
        )
        success = family.success(moment.tasks, moment.step())
        if success is not None:
            what, remedy = f"success on {split}", "Return None, or True or False for each row."
            demand_form(success, torch.bool, (ROWS,), what, remedy, step=t)


@rule
def endings_are_separate(family: TaskFamily) -> None:
    """Rows end before the horizon only in a family that ends early; the evaluator marks time-outs at the horizon."""
    for split in ("id", *(name for name in family.splits if name.startswith("shift/horizon/"))):
        horizon = family.trial(split).horizon
        for moment in walk(family, split, steps=horizon):
            for name in ("terminated", "truncated"):
                t, flag = moment.t, getattr(moment.outcome, name)
                if flag is None:
                    continue
                remedy = "Return None, or True or False for each row."
                demand_form(flag, torch.bool, (ROWS,), name, remedy, step=t)
                demand(
                    ~flag | (family.ends_early or t + 1 == horizon),
                    expected=f"no end before step {horizon - 1} on {split}",
                    found=name,
                    remedy="Set ends_early = True, or leave time-outs to the horizon.",
                    step=t,
                )


# --- dependence on arguments ------------------------------------------------------------------------------------------


@rule
def step_is_a_function(family: TaskFamily) -> None:
    """The same tasks, state, action and noise give the same outcome, and stepping changes none of them in place."""
    for t, tasks, state, _, action, noise, outcome in walk(family):
        before = tree.fork((state, tasks, action))
        again = family.step(tasks, state, action, noise)
        demand_same(
            again, outcome, "the same outcome twice", "Keep no state in the family.", step=t
        )
        remedy = "Return new tensors: the evaluator keeps the old ones for rows that stand still and for learners."
        after = (state, tasks, action)
        demand_same(after, before, "an unchanged state, tasks and action", remedy, step=t)


@rule
def rows_are_independent(family: TaskFamily) -> None:
    """Row b plays the same, bit for bit, alone, in any batch, in any order."""
    whole = list(walk(family))
    for index in SUBSETS:
        rows = torch.tensor(index)
        alone = walk(family, "id", tree.select(whole[0].tasks, rows), noise_of(rows))
        for ours, theirs in zip(alone, whole, strict=True):
            demand_same(
                ours.outcome,
                tree.select(theirs.outcome, rows),
                f"the outcomes of rows {index} among {ROWS}",
                "Let no operation mix rows.",
                step=ours.t,
            )


@rule
def draws_ignore_actions(family: TaskFamily) -> None:
    """Draws do not depend on the actions: methods that meet in a state again have the same noise."""
    for moment in walk(family):
        other, first = other_action(family, moment.action), moment.action[:1]
        recorded = []
        for action in (moment.action, other, first.expand_as(moment.action)):
            with recorded_draws() as draws:
                family.step(moment.tasks, moment.state, action, moment.noise)
            recorded.append(draws)
        demand(
            recorded[0] == recorded[1] == recorded[2],
            expected="the same draws whatever the actions",
            found="others",
            remedy="Draw one uniform a variable, named without the action, through the inverse CDF.",
            step=moment.t,
        )
    _meet_again(family)


def _meet_again(family: TaskFamily) -> None:
    """Two copies of each row act differently once; if their states coincide again, so do their outcomes."""
    copy = None
    remedy = "Let an outcome depend on nothing but task, state, action and noise."
    for t, tasks, state, _, action, noise, outcome in walk(family):
        if copy is None:
            copy = family.step(tasks, state, other_action(family, action), noise).state
            continue
        met = same_rows(copy, state).nonzero().flatten()
        ours = family.step(tasks, copy, action, noise)
        expected = f"one outcome for rows {met.tolist()} that meet again"
        demand_same(tree.select(ours, met), tree.select(outcome, met), expected, remedy, step=t)
        copy = ours.state


@rule
def dead_rows_stand_still(family: TaskFamily) -> None:
    """A row that is not live keeps its state and observation and has reward 0; the others go on as before."""
    alive, dead = torch.arange(0, ROWS, 2), torch.arange(1, ROWS, 2)
    live, never = torch.arange(ROWS) % 2 == 0, torch.zeros(ROWS, dtype=torch.bool)
    remedy = "Let the state be tensors that lead with the trials, so that bridge.memory.where can keep rows."
    for t, tasks, state, obs, action, noise, outcome in walk(family):
        after, step = transition(family, tasks, state, obs, action, noise, False, live)
        found = (after, step.next_obs, step.reward, step.terminated, step.truncated)
        went_on = (outcome.state, outcome.obs, outcome.reward, step.terminated, step.truncated)
        still = (state, obs, torch.zeros_like(outcome.reward), never, never)
        for rows, expected, what in (
            (dead, still, "dead rows that stand still"),
            (alive, went_on, "live rows that go on"),
        ):
            demand_same(tree.select(found, rows), tree.select(expected, rows), what, remedy, step=t)


@rule
def noise_is_named(family: TaskFamily) -> None:
    """All noise comes from the rows' own streams, none from a global generator of torch, numpy or python."""
    remedy = "Draw from the noise that _sample, reset and step are given (bridge.rng.Rows)."
    for split in family.splits:
        with no_global_draws(remedy):
            walked = [moment.outcome for moment in walk(family, split)]
        with other_python_noise():
            again = [moment.outcome for moment in walk(family, split)]
        demand_same(again, walked, f"{split} independent of python's random", remedy)


# --- for the evaluator ------------------------------------------------------------------------------------------------


@rule
def expected_reward_is_the_mean(family: TaskFamily) -> None:
    """``expected_reward`` is the mean of the reward over noise, for each task, state and action."""
    if type(family).expected_reward is TaskFamily.expected_reward:
        return  # the reward itself
    group = torch.arange(_GROUPS).repeat_interleave(_REPEATS)
    tasks, noise = family.sample("id", group), noise_of(torch.arange(len(group)))
    for moment in walk(family, "id", tasks, noise, steps=3):
        action = moment.action[::_REPEATS].repeat_interleave(_REPEATS, 0)
        outcome = family.step(tasks, moment.state, action, moment.noise)
        mean = family.expected_reward(tasks, moment._replace(action=action, outcome=outcome).step())
        gap = (outcome.reward - mean).double().view(_GROUPS, _REPEATS)
        noise_level = 5 * gap.std(1) / _REPEATS**0.5 + 10 * (1 + mean.abs().max()) / _REPEATS
        demand(
            gap.mean(1).abs() <= noise_level,
            expected=f"a mean gap to the reward below {float(noise_level.max()):.3g}",
            found=gap.mean(1),
            remedy="Return the mean given obs, action and next_obs (a row here is a task).",
            step=moment.t,
        )


@rule
def optimal_return_is_a_bound(family: TaskFamily) -> None:
    """``optimal_return`` is finite, one a row, and on every split at least the random agent's mean return."""
    if not family.solved:
        raise LeftOut("the optimal return is not known")
    agent, ids = Random(family), torch.arange(_BOUNDED_ROWS)
    for split in family.splits:
        tasks, noise = family.sample(split, ids), TrialNoise.of("conformance", ids)
        trial = family.trial(split)
        best = family.optimal_return(tasks, trial)
        demand(
            tuple(best.shape) == (_BOUNDED_ROWS,),
            expected=f"shape ({_BOUNDED_ROWS},) on {split}",
            found=tuple(best.shape),
            remedy="Return one number a row, for one episode.",
        )
        demand(
            best.isfinite(),
            expected=f"finite returns on {split}",
            found=best,
            remedy="Look at this task.",
        )
        memory = agent.start(Clues(), trial, noise.agent.at("start"))
        _, totals = play_episode(
            agent, family, tasks, memory, noise, episode=0, horizon=trial.horizon
        )
        lead = (totals.expected - best).double()
        demand(
            float(lead.mean()) <= 4 * float(lead.std()) / _BOUNDED_ROWS**0.5 + 1e-4,
            expected=f"a random agent at or below {float(best.mean()):.4g} on {split}",
            found=f"{float(totals.expected.mean()):.4g}",
            remedy="Return the largest expected return of one episode given the task.",
        )


@rule
def first_observation_hides_the_task(family: TaskFamily) -> None:
    """An episode of a Gymnasium environment begins with the same observation in every task, if the seed is the same."""
    tasks, same = _varied_tasks(family), _SAME
    _, obs = family.reset(tasks, same)
    demand(
        (obs == obs[:1]).flatten(1).all(1) if obs.dim() > 1 else obs == obs[:1],
        expected=f"the first observation of task 0, {obs[0].tolist()}",
        found=obs,
        remedy="An agent can read the task off it without any trial. Mask it, unless that is meant.",
        step=0,
    )


@rule
def all_that_varies_matters(family: TaskFamily) -> None:
    """Whatever varies between tasks of a Gymnasium environment changes some steps, under the same seed and actions."""
    tasks = _varied_tasks(family)
    for split in ("train", *(name for name in family.splits if name.endswith("/4"))):
        others = family.sample(split, torch.arange(1, ROWS))
        for key, trained in tasks.params.items():
            alone = {name: value[:1].expand_as(value) for name, value in tasks.params.items()}
            alone[key] = torch.cat([trained[:1], others.params[key]])
            if (alone[key] != alone[key][0]).any():
                demand(
                    _moves(family, tasks._replace(params=alone), _SAME),
                    expected=f"episodes that depend on {key}",
                    found=f"the same steps at all of its values of {split}",
                    remedy="Nothing reads it, or only after longer episodes. Vary something else.",
                )


def _varied_tasks(family: TaskFamily) -> Tasks:
    """Some training tasks of a Gymnasium environment.

    Raises:
        LeftOut: another family, or one in which nothing varies or shifts.
    """
    if not isinstance(family, GymFamily):
        raise LeftOut(OTHER_KIND)
    if not (family.vary or family.shift):
        raise LeftOut("nothing varies between tasks")
    return family.sample("train", torch.arange(ROWS))


def _moves(family: TaskFamily, tasks: Tasks, noise: Rows) -> bool:
    """True if some row takes other steps than the first one, by the same actions."""
    state, obs = family.reset(tasks, noise)
    for t in range(min(_WALKED, family.trial("train").horizon)):
        if (obs != obs[:1]).any():
            return True
        action = spaces.uniform(family.action, noise.at("act", t))
        outcome = family.step(tasks, state, action, noise.at(t))
        state, obs = outcome.state, outcome.obs
        ends = torch.stack([outcome.reward.double(), *(end.double() for end in outcome.ends())])
        if (ends != ends[:, :1]).any():
            return True
    return False


@rule
def curve_points_end_with_the_trial(family: TaskFamily) -> None:
    """Curve points are increasing numbers of episodes, from 1 at least to the last episode."""
    horizon = family.trial("id").horizon
    for episodes in (family.trial("id").episodes, 1, 2, 37):
        points = family.curve_points(Trial(episodes, horizon))
        increasing = all(a < b for a, b in pairwise((0, *points)))
        demand(
            increasing and points[-1] == episodes,
            expected=f"increasing points from 1 on that end with {episodes}",
            found=points,
            remedy="Leave curve_points to TaskFamily.",
        )
