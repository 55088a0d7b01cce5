"""The contract as checks, for our own agents and task families and for yours.

``check_agent(agent, family)`` and ``check_family(family)`` raise at the first rule that is broken. ``AGENT_CHECKS`` and
``FAMILY_CHECKS`` have the rules by name, each a function with the same arguments, in the order in which to fix broken
rules; ``verdicts(AGENT_CHECKS, agent, family)`` runs them all and yields the result of each.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.conformance import agents, draws, memories, simulator, splits
from bridge.conformance.rules import Verdict, listed, sentence, verdicts
from bridge.protocol import Agent
from bridge.tasks.base import TaskFamily

__all__ = [
    "AGENT_CHECKS",
    "FAMILY_CHECKS",
    "Verdict",
    "check_agent",
    "check_family",
    "sentence",
    "verdicts",
]


AGENT_CHECKS: dict[str, Callable[..., str | None]] = listed(
    agents.has_the_verbs,
    agents.card_is_sane,
    agents.task_is_hidden,
    agents.memory_leads_with_rows,
    agents.decisions_fit,
    agents.any_size_plays,
    agents.noise_is_named,
    agents.runs_repeat,
    agents.playing_changes_no_agent,
    draws.actions_match_decisions,
    draws.noise_foretells_nothing,
    memories.act_only_reads,
    memories.represent_only_reads,
    memories.misfit_only_reads,
    memories.shown_is_played,
    memories.carry_is_a_cache,
    memories.absorb_is_observe,
    memories.fork_is_a_copy,
    memories.rows_are_independent,
    memories.dead_rows_change_nothing,
    memories.last_reward_is_kept,
)

FAMILY_CHECKS: dict[str, Callable[[TaskFamily], str | None]] = listed(
    splits.splits_are_named,
    splits.id_spells_the_family,
    simulator.every_split_plays,
    simulator.observations_fit,
    simulator.rewards_fit,
    simulator.endings_are_separate,
    simulator.step_is_a_function,
    simulator.rows_are_independent,
    simulator.draws_ignore_actions,
    simulator.dead_rows_stand_still,
    simulator.noise_is_named,
    splits.tasks_depend_on_index_alone,
    splits.streams_differ,
    splits.held_out_tasks_are_new,
    splits.fixed_tasks_are_distinct,
    splits.level_zero_is_id,
    splits.levels_move,
    splits.hash_distinguishes_tasks,
    simulator.expected_reward_is_the_mean,
    simulator.optimal_return_is_a_bound,
    simulator.first_observation_hides_the_task,
    simulator.all_that_varies_matters,
    simulator.curve_points_end_with_the_trial,
)


def check_agent(
    agent: Agent | Callable[[], Agent],
    family: TaskFamily,
    split: str = "id",
    *,
    tolerance: float | None = None,
) -> None:
    """Raise ``ContractError`` at the first rule that an agent breaks.

    Args:
        agent: an agent, or a function without arguments that makes one.
        family: its family.
        split: the split of its tasks.
        tolerance: largest difference of logits; None: 0 for references, 1e-5 (1e-10 in float64) for others.
    """
    for check in AGENT_CHECKS.values():
        check(agent, family, split, tolerance=tolerance)


def check_family(family: TaskFamily) -> None:
    """Raise ``ContractError`` at the first rule that ``family`` breaks."""
    for check in FAMILY_CHECKS.values():
        check(family)
