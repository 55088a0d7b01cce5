"""``metabridge data``: histories of references and trained runs as a Parquet dataset, to imitate or to look at."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bridge.errors import UserError
from bridge.protocol import Agent
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from experiments import methods, training
from experiments.progress import Progress
from llm_adapt.data import Collection


def collect(sources: str, family_spec: str, *, shards: int, rows: int, episodes: int, seed: int, out: Path) -> Path:
    """Make the first ``shards`` shards that are not there yet; returns the collection's folder.

    Raises:
        UserError: a source that is unknown, told the task or of another family; a count below its least.
    """
    for name, value, least in (("shards", shards, 1), ("rows", rows, 1), ("episodes", episodes, 0)):
        if value < least:
            raise UserError(f"--{name} must be {least} or more, found {value}.")
    family = make_family(family_spec)
    agents = dict(_named(source, family) for source in sources.split("+"))
    made = Collection(family, tuple(agents), seed=seed, episodes=episodes, rows=rows, folder=out, agents=agents)
    with Progress(shards * rows, "histories") as progress:
        for number in range(shards):
            made.shard(number)
            progress.advance(rows)
    return made.folder


def _named(source: str, family: TaskFamily) -> tuple[str, Agent]:
    """A source and its name: a run's tells its weights."""
    agent = methods.agent(source, family, "train")
    if not training.is_run(source):
        return source, agent
    weights = (Path(source) / "model.safetensors").read_bytes()
    return f"{agent.card.method} {hashlib.sha256(weights).hexdigest()[:8]}", agent
