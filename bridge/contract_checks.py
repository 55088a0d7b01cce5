"""Checks of what agents and families return during play. An error names the row, the episode and the step."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from bridge.errors import ContractError
from bridge.protocol import Decision, Step
from bridge.tasks.base import Discrete, TaskFamily


def check_decision(decision: Decision, family: TaskFamily, rows: int, episode: int, t: int) -> None:
    """Check the shape, type and range of the actions of ``act``.

    Raises:
        ContractError: they are not actions of ``family``.
    """
    action, space, when = decision.action, family.action, f"at episode {episode}, step {t}"
    expected = (rows, *space.shape)
    if tuple(action.shape) != expected:
        raise ContractError(
            f"act returned actions of shape {tuple(action.shape)} {when}; {family.id} expects {expected}: one action "
            "a trial."
        )
    if not isinstance(space, Discrete):
        finite = torch.isfinite(action).all(-1)
        if not bool(finite.all()):
            raise ContractError(
                f"act returned a NaN or infinite action in row {_first(~finite)} {when}."
            )
        return
    if action.dtype != torch.int64:
        raise ContractError(
            f"act returned {action.dtype} actions; {family.id} expects int64 in 0..{space.n - 1}."
        )
    low, high = torch.aminmax(action)
    if low < 0 or high >= space.n:
        row = _first((action < 0) | (action >= space.n))
        raise ContractError(
            f"act returned action {int(action[row])} in row {row} {when}; {family.id} has actions 0..{space.n - 1}."
        )


def check_step(step: Step, family: TaskFamily, episode: int, t: int) -> None:
    """Check the shape of rewards, and that rewards and observations are finite.

    Raises:
        ContractError: they are not.
    """
    when = f"at episode {episode}, step {t}"
    check_observation(step.next_obs, family, when)
    if step.reward.shape != step.terminated.shape:
        raise ContractError(
            f"{family.id} returned rewards of shape {tuple(step.reward.shape)} {when}; expected "
            f"{tuple(step.terminated.shape)}: one reward a trial."
        )
    finite = torch.isfinite(step.reward)
    if not bool(finite.all()):
        row = _first(~finite)
        raise ContractError(
            f"{family.id} returned reward {float(step.reward[row])} in row {row} {when}; rewards must be finite "
            "numbers."
        )


def check_observation(obs: Tensor, family: TaskFamily, when: str) -> None:
    """Check that observations are finite.

    Raises:
        ContractError: they are not.
    """
    if obs.is_floating_point() and not bool(torch.isfinite(obs).all()):
        row = _first(~torch.isfinite(obs).flatten(1).all(1))
        raise ContractError(
            f"{family.id} returned the observation {obs[row].tolist()} in row {row} {when}; observations must be "
            "finite numbers."
        )


def _first(bad: Bool[Tensor, " B"]) -> int:
    """The first row that is True."""
    return int(bad.nonzero()[0])
