"""``metabridge data``: histories of references and trained runs as a Parquet dataset."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from tyro.conf import Positional

from bridge.config import Seed
from bridge.words import counted
from experiments.commands.common import one_thread


@dataclass(frozen=True, kw_only=True)
class Data:
    """Let agents play tasks of a split and keep their histories as a Parquet dataset.

    For example: metabridge data psrl+q_learning --family gridnavi --shards 2 --out data/gridnavi
    """

    sources: Positional[str]
    """Agents that play in turn, joined by +: references (thompson+q_learning), folders of trained runs, and your own
    (path/to/mine.py:MyAgent)."""
    family: str = ""
    """A family, with parameters after a colon; path/to/maze.py:Maze is your own (default: that of the first run among
    the sources; bandit:k=5,n=10 if there is none)."""
    split: str = "train"
    """The split of the tasks; histories on others than train are for metabridge finetune --demos."""
    shards: int = 1
    """Parquet files; more can be added later by the same command."""
    rows: int = 0
    """Histories of each, on a task each (0: 20,000 steps of them)."""
    episodes: int = 0
    """Episodes of a history (0: as many as a trial has)."""
    seed: Seed = 0
    """Of tasks and play."""
    out: Path
    """The collection gets a folder of its own in it, named by what it is; train on it: icl_dpt:data=FOLDER."""
    minari: str = ""
    """Also a Minari dataset of these shards, which minari.load_dataset opens: gridnavi/psrl-v0 (empty: none)."""

    def run(self) -> int:
        """Play, write and print the folder, and the name of the Minari dataset if there is one."""
        from experiments import collecting

        one_thread()
        folder = collecting.collect(**asdict(self))
        print(f"{counted(self.shards, 'shard')} of histories: {folder}")
        if self.minari:
            print(f"Minari dataset: {self.minari}")
        return 0
