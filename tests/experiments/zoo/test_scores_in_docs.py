"""The table of trained runs in the docs says what their cards say."""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from bridge.config import split_spec
from experiments import zoo
from experiments.zoo.recipes import RECIPES

PAGE = Path(__file__).parents[3] / "docs" / "methods-and-families.md"
FAMILIES = tuple(dict.fromkeys(split_spec(recipe.family)[0] for recipe in RECIPES))
METHODS = tuple(dict.fromkeys(split_spec(recipe.method)[0] for recipe in RECIPES))


def returns() -> dict[tuple[str, str], list[float]]:
    """Returns on ``id`` in the cards, by method and family."""
    found = defaultdict(list)
    for card in sorted(zoo.RUNS.glob("*/*/*/README.md")):
        method, family, _seed = card.parent.relative_to(zoo.RUNS).parts
        (mean,) = re.findall(
            r"interval: (-?[\d.]+) ±[\d.]+ as it is here", " ".join(card.read_text().split())
        )
        found[method, family].append(float(mean))
    return found


def test_the_table_has_the_means_of_the_cards() -> None:
    found = returns()
    rows = []
    for method in METHODS:
        cells = [
            f"{np.mean(scores):.4g} ({len(scores)})" if scores else "-"
            for scores in (found.get((method, family)) for family in FAMILIES)
        ]
        rows.append(f"| `zoo:{method}` | {' | '.join(cells)} |")

    table = "\n".join(rows)
    assert table in PAGE.read_text(), (
        f"The table of docs/methods-and-families.md should be:\n{table}"
    )
