"""Parts that the studies of trained runs share: their arguments, how their cells are played, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from bridge.errors import UserError
from bridge.evaluation.footprint import parse_memory
from bridge.tasks.base import TaskFamily
from experiments import cells
from experiments.cells import Cell
from experiments.streams import replace_unknown_characters
from experiments.studies.few_shot.variants import RATES, Study

MARKER = "study.json"
"""The file that says which study a folder holds."""


def arguments(about: str | None) -> argparse.ArgumentParser:
    """Return a parser of a family, runs on it, how they are tuned, and how much is played."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", default="bandit:k=5,n=20")
    parser.add_argument(
        "--runs",
        nargs="+",
        type=Path,
        required=True,
        help="run folders; seeds of a method are pooled",
    )
    parser.add_argument(
        "--tuned", nargs="+", choices=tuple(RATES), default=("lora", "full"), help="of transformers"
    )
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument(
        "--memory", default="1GB", help="that playing may need beyond what the process needs anyway"
    )
    return parser


def study_of(
    asked: argparse.Namespace,
    family: TaskFamily,
    splits: tuple[str, ...],
    out: Path,
    *,
    signal: Literal["reward", "demos"],
    budgets: Iterable[int],
) -> Study:
    """Return the study that the arguments name."""
    return Study(
        family=family,
        runs=asked.runs,
        splits=splits,
        signal=signal,
        tuned=tuple(asked.tuned),
        budgets=tuple(budgets),
        shots=asked.shots,
        trials=asked.trials,
        out=out,
        memory=parse_memory(asked.memory),
    )


def play(asked: Iterable[Cell], out: Path, about: Mapping[str, Any]) -> None:
    """Play the cells that have no rows in ``out`` yet, a folder that holds one study, which ``about`` describes.

    Raises:
        UserError: the folder holds another study, or a cell failed.
    """
    cells.keep(asked, out, MARKER, about, "study")


def run(
    name: str, study: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser
) -> None:
    """Run a study on one thread, since batches are small. Bad input ends with a sentence."""
    replace_unknown_characters()
    asked = parser.parse_args()
    torch.set_num_threads(1)
    try:
        study(asked)
    except UserError as error:
        sys.exit(f"{name}: {error}")
