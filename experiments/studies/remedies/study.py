"""The study: train and play what is missing, then print the tables and draw the curve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bridge.files import write_text
from bridge.report.summary import Results
from experiments.studies.arguments import play
from experiments.studies.remedies.diversity import Diversity
from experiments.studies.remedies.repairs import Repairs

FAMILY = "bandit"
DRAWN = ("train", "id", "shift/prior/4", "shift/reward_sign/2")
"""The splits of the figure."""
_SPLITS = (
    "id",
    "train",
    *(
        f"shift/{axis}/{level}"
        for axis in ("gap", "prior", "reward_sign")
        for level in (1, 2, 3, 4)
    ),
)


class Repaired(NamedTuple):
    """A family on which remedies are compared."""

    family: str
    methods: tuple[str, ...]
    axes: tuple[str, ...]
    """Axes along which training is widened."""
    trials: int
    """Trials of a split; with some remedies each takes gradient steps."""


@dataclass(frozen=True)
class Size:
    """How much is trained and played."""

    methods: tuple[str, ...]
    """Those of the curve over numbers of training tasks."""
    tasks: tuple[int, ...]
    """Numbers of distinct training tasks."""
    trials: int
    """Trials of a split of the curve."""
    repaired: tuple[Repaired, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    share: float = 1.0
    """The share of their budget that all runs get; below 1, none that ships is played."""


_BANDIT_AXES = ("gap", "prior", "reward_scale", "reward_sign")
SIZES = {
    "smoke": Size(
        ("rl2",),
        (16, 256),
        100,
        (Repaired("bandit", ("rl2",), ("reward_scale",), 100),),
        (0,),
        0.01,
    ),
    "quick": Size(
        ("rl2", "icl_rl"),
        (16, 256, 4096),
        1024,
        (Repaired("bandit", ("rl2", "icl_rl"), ("reward_scale", "reward_sign"), 128),),
        share=0.25,
    ),
    "small": Size(
        ("rl2", "icl_rl", "maml"),
        (16, 64, 256, 1024, 4096, 16384),
        4096,
        (
            Repaired("bandit", ("rl2", "icl_rl", "maml"), _BANDIT_AXES, 512),
            Repaired("gridnavi", ("rl2", "icl_rl"), ("action_permutation", "slip"), 210),
        ),
    ),
}


def run(size: Size, out: Path) -> None:
    """Do what is missing of a size, then print and write its tables, and draw the curve over tasks.

    Raises:
        UserError: a folder of another study, or a cell failed.
    """
    about = {"version": 1, "share": size.share}
    diversity = Diversity(
        FAMILY,
        size.methods,
        size.tasks,
        _SPLITS,
        size.seeds,
        size.trials,
        size.share,
        out / "diversity",
    )
    play(diversity.cells(), diversity.out, about | {"trials": diversity.trials})
    curve = Results(diversity.out)
    blocks = [
        "Scores by the number of distinct training tasks: 0 random, 1 the oracle.",
        diversity.markdown(curve),
        "What remedies change: the score with one less the score without, on id and at each level of an axis.",
    ]
    for where in size.repaired:
        repairs = Repairs(*where, size.seeds, size.share, out / "repairs" / where.family)
        for cells in repairs.cells():
            if cells:
                play(cells, repairs.out, about | {"trials": repairs.trials})
        blocks.append(repairs.markdown(Results(repairs.out)))
    text = "\n\n".join(blocks)
    write_text(out / "remedies.md", text + "\n")
    drawn = diversity.draw(curve, DRAWN, out / "figures")
    print(text)
    print(f"\nWritten: {out / 'remedies.md'}. Drawn: {drawn}")
