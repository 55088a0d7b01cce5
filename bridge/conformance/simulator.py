"""The rules for how a family plays: what ``reset`` and ``step`` return, and what the evaluator asks of it."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from bridge import memory as tree
from bridge.conformance.compare import same_rows
from bridge.conformance.random_steps import (
    ROWS,
    SUBSETS,
    demand_same,
    noise_of,
    other_action,
    tasks_of,
    walk,
)
from bridge.conformance.recorded_noise import RecordedNoise
from bridge.conformance.rules import demand, rule, space_bounds
from bridge.conformance.snapshot import global_noise, other_python_noise
from bridge.noise import TrialNoise
from bridge.play import play_episode, transition
from bridge.protocol import Clues, Trial
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.base import Discrete, TaskFamily, Tasks

_REPEATS, _GROUPS = 1024, 4
_BOUNDED_ROWS = 128


# --- what comes out ---------------------------------------------------------------------------------------------------


@rule
def every_split_plays(family: TaskFamily) -> None:
    """Every split has a trial of whole numbers, and an episode whose state leads with the trials."""
    for split in family.splits:
        trial = family.trial(split)
        whole = all(isinstance(bound, int) and bound >= 1 for bound in trial)
        demand(
            whole,
            expected=f"whole numbers >= 1 on {split}",
            found=trial,
            remedy="Round and clip the axis.",
        )
        for moment in walk(family, split, *tasks_of(family, split)):
            for leaf in tree.leaves((moment.state, moment.outcome.state)):
                leads = isinstance(leaf, Tensor) and leaf.dim() > 0 and len(leaf) == ROWS
                expected = f"a state of tensors [{ROWS}, ...] on {split}"
                demand(
                    leads,
                    expected=expected,
                    found=leaf,
                    remedy="Give every row its own state.",
                    step=moment.t,
                )


@rule
def observations_fit(family: TaskFamily) -> None:
    """Every observation, the first too, lies in the observation space, with its shape and dtype."""
    dtype = torch.int64 if isinstance(family.observation, Discrete) else torch.float32
    low, high = space_bounds(family.observation, dtype)
    shape = (ROWS, *low.shape)
    for split in family.splits:
        for moment in walk(family, split, *tasks_of(family, split)):
            for t, obs in ((moment.t, moment.obs), (moment.t + 1, moment.outcome.obs)):
                demand(
                    tuple(obs.shape) == shape and obs.dtype == dtype,
                    expected=f"{dtype} {shape} on {split}",
                    found=f"{obs.dtype} {tuple(obs.shape)}",
                    remedy="Return one a row, as the space says.",
                    step=t,
                )
                demand(
                    (obs >= low) & (obs <= high),
                    expected=f"{low.tolist()} to {high.tolist()} on {split}",
                    found=obs,
                    remedy="Widen the space or clip the state.",
                    step=t,
                )


@rule
def rewards_fit(family: TaskFamily) -> None:
    """Rewards are finite float32, one a row; success is None or a bool a row."""
    for split in family.splits:
        tasks, noise = tasks_of(family, split)
        for moment in walk(family, split, tasks, noise):
            reward, won = moment.outcome.reward, family.success(tasks, moment.step())
            demand(
                reward.dtype == torch.float32 and tuple(reward.shape) == (ROWS,),
                expected=f"rewards torch.float32 ({ROWS},) on {split}",
                found=f"{reward.dtype} {tuple(reward.shape)}",
                remedy="Return one a row.",
                step=moment.t,
            )
            expected = f"finite rewards on {split}"
            demand(
                reward.isfinite(),
                expected=expected,
                found=reward,
                remedy="Bound them.",
                step=moment.t,
            )
            demand(
                won is None or (won.dtype == torch.bool and tuple(won.shape) == (ROWS,)),
                expected=f"success torch.bool ({ROWS},) or None on {split}",
                found=won,
                remedy="Say of each row whether this step succeeded.",
                step=moment.t,
            )


@rule
def endings_are_separate(family: TaskFamily) -> None:
    """Rows are terminated before the horizon only in a family that ends early; time-outs are the evaluator's to say."""
    for split in ("id", *(name for name in family.splits if name.startswith("shift/horizon/"))):
        horizon = family.trial(split).horizon
        for t, *_, outcome in walk(family, split, *tasks_of(family, split), steps=horizon):
            flag = outcome.terminated
            if flag is None:
                continue
            demand(
                flag.dtype == torch.bool and tuple(flag.shape) == (ROWS,),
                expected=f"torch.bool ({ROWS},) or None",
                found=f"{flag.dtype} {tuple(flag.shape)}",
                remedy="Say of each row whether it ended.",
                step=t,
            )
            demand(
                ~flag | (family.ends_early or t + 1 == horizon),
                expected=f"no end before step {horizon - 1} on {split}",
                found="terminated",
                remedy="Set ends_early = True, or leave time-outs to the horizon.",
                step=t,
            )


# --- what goes in -----------------------------------------------------------------------------------------------------


@rule
def step_is_a_function(family: TaskFamily) -> None:
    """The same tasks, state, action and noise give the same outcome, and stepping changes none of them in place."""
    tasks, noise = tasks_of(family, "id")
    for t, state, _, action, here, outcome in walk(family, "id", tasks, noise):
        before = tree.fork((state, tasks, action))
        again = family.step(tasks, state, action, here)
        demand_same(again, outcome, "the same outcome twice", "Keep no state in the family.", t)
        remedy = "Return new tensors: the evaluator keeps the old ones for rows that stand still, and for who learns."
        demand_same(
            (state, tasks, action), before, "the state, tasks and action as they were", remedy, t
        )


@rule
def rows_are_independent(family: TaskFamily) -> None:
    """Row b plays the same, bit for bit, alone, in any batch, in any order."""
    tasks, noise = tasks_of(family, "id")
    whole = list(walk(family, "id", tasks, noise))
    for index in SUBSETS:
        rows = torch.tensor(index)
        for ours, among in zip(
            walk(family, "id", tree.select(tasks, rows), noise[rows]), whole, strict=True
        ):
            expected = f"what rows {index} get among {ROWS}"
            demand_same(
                ours.outcome,
                tree.select(among.outcome, rows),
                expected,
                "Let no operation mix rows.",
                ours.t,
            )


@rule
def draws_ignore_actions(family: TaskFamily) -> None:
    """What is drawn does not depend on the actions: methods that meet in a state again meet the same noise."""
    tasks, noise = tasks_of(family, "id")
    for moment in walk(family, "id", tasks, noise):
        draws = []
        for action in (
            moment.action,
            other_action(family, moment.action),
            moment.action[:1].expand_as(moment.action),
        ):
            traced = RecordedNoise.of_rows(moment.noise)
            family.step(tasks, moment.state, action, traced)
            draws.append(traced.draws())
        demand(
            draws[0] == draws[1] == draws[2],
            expected="the same draws whatever the actions",
            found="others",
            remedy="Draw one uniform a variable, named without the action, through the inverse CDF.",
            step=moment.t,
        )
    _meet_again(family, tasks, noise)


def _meet_again(family: TaskFamily, tasks: Tasks, noise: Rows) -> None:
    """Two copies of each row act differently once; where their states coincide again, so do their outcomes."""
    copy = None
    remedy = "Let an outcome depend on nothing but task, state, action and noise."
    for t, state, _, action, here, outcome in walk(family, "id", tasks, noise):
        if copy is None:
            copy = family.step(tasks, state, other_action(family, action), here).state
            continue
        met = same_rows(copy, state).nonzero().flatten()
        ours = family.step(tasks, copy, action, here)
        expected = f"one outcome for rows {met.tolist()} that meet again"
        demand_same(tree.select(ours, met), tree.select(outcome, met), expected, remedy, t)
        copy = ours.state


@rule
def dead_rows_stand_still(family: TaskFamily) -> None:
    """A row that is not live keeps its state and observation and is paid nothing; the others go on as ever."""
    tasks, noise = tasks_of(family, "id")
    alive, dead = torch.arange(0, ROWS, 2), torch.arange(1, ROWS, 2)
    live = torch.arange(ROWS) % 2 == 0
    never = torch.zeros(ROWS, dtype=torch.bool)
    remedy = "Let the state be tensors that lead with the trials, so that bridge.memory.where can keep rows."
    for t, state, obs, action, here, outcome in walk(family, "id", tasks, noise):
        after, step = transition(family, tasks, state, obs, action, here, False, live)
        found = (after, step.next_obs, step.reward, step.terminated, step.truncated)
        still = (state, obs, torch.zeros_like(outcome.reward), never, never)
        demand_same(
            tree.select(found, dead),
            tree.select(still, dead),
            "dead rows that stand still",
            remedy,
            t,
        )
        went_on = (outcome.state, outcome.obs, outcome.reward)
        demand_same(
            tree.select(found[:3], alive),
            tree.select(went_on, alive),
            "live rows that go on",
            remedy,
            t,
        )


@rule
def noise_is_named(family: TaskFamily) -> None:
    """All noise comes from the rows' own streams, none from a global generator of torch, numpy or python."""
    remedy = "Draw from the noise that _sample, reset and step are given (bridge.rng.Rows)."
    for split in family.splits:
        before = global_noise()
        walked = [moment.outcome for moment in walk(family, split, *tasks_of(family, split))]
        moved = ", ".join(name for name, state in global_noise().items() if state != before[name])
        demand(
            not moved,
            expected="generators that stand still",
            found=f"draws from that of {moved}",
            remedy=remedy,
        )
        with other_python_noise():
            again = [moment.outcome for moment in walk(family, split, *tasks_of(family, split))]
        demand_same(again, walked, f"{split} alike whatever python's random holds", remedy)


# --- what the evaluator asks ------------------------------------------------------------------------------------------


@rule
def expected_reward_is_the_mean(family: TaskFamily) -> None:
    """``expected_reward`` is the mean of the reward over noise, for each task, state and action."""
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
    """``optimal_return`` is finite, one a row, and on every split at least what the random agent gets on average."""
    agent = Random(family)
    for split in family.splits:
        ids = torch.arange(_BOUNDED_ROWS)
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
            remedy="Return what one episode pays on average to who knows the task.",
        )


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
