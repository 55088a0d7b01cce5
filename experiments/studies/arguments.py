"""What the studies of trained runs have in common: what they ask for, and how they end where that cannot be played."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from bridge.errors import UserError
from experiments.streams import replace_unknown_characters
from experiments.studies.few_shot.cells import RATES


def arguments(about: str | None) -> argparse.ArgumentParser:
    """A family, runs on it, how they are tuned, and how much is played."""
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


def run(
    name: str, study: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser
) -> None:
    """Play on one thread, since batches are small; bad input ends with a sentence."""
    replace_unknown_characters()
    asked = parser.parse_args()
    torch.set_num_threads(1)
    try:
        study(asked)
    except UserError as error:
        sys.exit(f"{name}: {error}")
