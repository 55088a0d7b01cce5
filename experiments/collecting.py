"""Histories of references and trained runs as a Parquet dataset, to imitate or to look at."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import nn

from bridge.digest import raw_bytes
from bridge.errors import UserError
from bridge.protocol import Agent
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from experiments import agents, runs, specs
from experiments.progress import Progress
from experiments.sources import TestTime
from llm_adapt import to_minari
from llm_adapt.data import Collection

_STEPS = 20_000
"""Environment steps of a shard by default: as many as learners read at a time."""


def collect(
    sources: str,
    family: str,
    *,
    split: str,
    shards: int,
    rows: int,
    episodes: int,
    seed: int,
    out: Path,
    minari: str = "",
) -> Path:
    """Make the first ``shards`` shards that are missing, and a Minari dataset of these shards if ``minari`` names one;
    return the collection's folder.

    Raises:
        UserError: a source that is empty, unknown, given the task, of another family or takes gradient steps at test;
            an unknown split; a count that is too small; a name of a Minari dataset that is malformed or taken.
    """
    for name, value, least in (("shards", shards, 1), ("rows", rows, 0), ("episodes", episodes, 0)):
        if value < least:
            raise UserError(f"--{name} must be {least} or more, found {value}.")
    players = [source.strip() for source in sources.split("+")]
    if not all(players):
        raise UserError(f"A source of {sources!r} is empty. Join names by +: thompson+q_learning.")
    played = make_family(family or _own_family(players))
    played.split_of_tasks(split)
    whole = played.trial(split)
    rows = rows or max(1, _STEPS // ((episodes or whole.episodes) * whole.horizon))
    if minari:
        to_minari.check_free(minari)
    named = [_named(source, played, split) for source in players]
    names = tuple(name for name, _ in named)
    settings = {"split": split, "seed": seed, "episodes": episodes, "rows": rows}
    made = Collection(played, names, **settings, folder=out, agents=dict(named))
    with Progress(shards * rows, "histories") as progress:
        for number in range(shards):
            made.shard(number)
            progress.advance(rows)
    if minari:
        to_minari.export(made, range(shards), minari)
    return made.folder


def _own_family(sources: list[str]) -> str:
    """The family of the first run among the sources."""
    return next(filter(None, map(specs.trained_on, sources)), specs.DEFAULT_FAMILY)


def _named(source: str, family: TaskFamily, split: str) -> tuple[str, Agent]:
    """The name of a source and its agent. Names hold a digest of a run's weights, or of a user's own code."""
    resolved = agents.resolve(source, family)
    if isinstance(resolved, TestTime):
        raise UserError(
            f"{source} takes gradient steps at test, and histories are kept of runs as they are. Name the run: "
            f"{specs.run_in(source)}"
        )
    agent: Any = resolved.load(split)
    if resolved.trained:
        return f"{runs.read(source).about['method']} {digest_of(agent)}", agent
    return f"{source} {resolved.edition}".rstrip(), agent


def digest_of(agent: nn.Module) -> str:
    """Return eight hex digits of a hash of all weights, of any dtype."""
    digest = hashlib.sha256()
    for _, weights in sorted(agent.state_dict().items()):
        digest.update(raw_bytes(weights))
    return digest.hexdigest()[:8]
