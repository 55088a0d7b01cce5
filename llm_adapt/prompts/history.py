"""The history of one trial, in the parts that a prompt is made of."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from bridge.test_time.trial_buffer import TrialBuffer

Place = tuple[int | float, ...]
"""An observation: coordinates, the number of a state, or nothing."""


class Line(NamedTuple):
    """One step."""

    place: Place
    action: int
    reward: float
    over: Place | None
    """Where the episode ended with this step; None if it went on."""


class Tally(NamedTuple):
    """The pulls of an arm so far."""

    count: int
    mean: float
    """Mean reward, rounded to two digits behind the point; 0 without pulls."""


Episodes = list[list[Line]]
"""The steps of each episode so far; the last one may be empty."""


def tallies(episodes: Episodes, actions: int) -> list[Tally]:
    """The pulls of each of ``actions`` arms."""
    rewards: list[list[float]] = [[] for _ in range(actions)]
    for steps in episodes:
        for line in steps:
            rewards[line.action].append(line.reward)
    return [Tally(len(paid), round(sum(paid) / max(1, len(paid)), 2)) for paid in rewards]


def histories(buffer: TrialBuffer, episode: list[int], *, with_places: bool) -> list[Episodes]:
    """The history of each row up to a step of its episode ``episode``, which is the last one of the history."""
    obs, arrived = ((part if with_places else part[..., :0]) for part in _places(buffer))
    columns = (obs, buffer.action, buffer.reward, arrived, buffer.end, buffer.live)
    rows = []
    for now, *row in zip(episode, *(column.tolist() for column in columns), strict=True):
        found: Episodes = []
        for steps in zip(*(part[: now + 1] for part in row), strict=True):
            lines = zip(*steps, strict=True)
            found.append(
                [
                    Line(tuple(here), action, reward, tuple(there) if end else None)
                    for here, action, reward, there, end, live in lines
                    if live
                ]
            )
        rows.append(found)
    return rows


def _places(buffer: TrialBuffer) -> tuple[Tensor, Tensor]:
    """Observations before and after each step, ``[B, E, H, D]``; the number of a state is a vector of length 1."""

    def vectors(obs: Tensor) -> Tensor:
        return obs if obs.dim() > buffer.live.dim() else obs[..., None]

    return vectors(buffer.obs), vectors(buffer.next_obs)
