"""The study: train and play what is missing, then print the tables and draw the curve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Size:
    """How much is trained and played."""

    methods: tuple[str, ...]
    tasks: tuple[int, ...]
    """Numbers of distinct training tasks."""
    axes: tuple[str, ...]
    """Axes along which training is widened."""
    seeds: tuple[int, ...]
    trials: int
    """Trials of a split of the curve over tasks."""
    repair_trials: int
    """Trials of a split of the table of remedies, in some of which every trial takes gradient steps."""
    share: float = 1.0
    """The share of their budget that all runs get; below 1, none that ships is played."""


SIZES = {
    "smoke": Size(("rl2",), (16, 256), ("reward_scale",), (0,), 100, 100, share=0.01),
    "quick": Size(
        ("rl2", "icl_rl"),
        (16, 256, 4096),
        ("reward_scale", "reward_sign"),
        (0, 1, 2),
        1024,
        128,
        0.25,
    ),
    "small": Size(
        ("rl2", "icl_rl", "maml"),
        (16, 64, 256, 1024, 4096, 16384),
        ("gap", "prior", "reward_scale", "reward_sign"),
        (0, 1, 2),
        4096,
        512,
    ),
}


def run(size: Size, out: Path) -> None:
    """Do what is missing of a size, then print and write its tables, and draw the curve over tasks.

    Raises:
        UserError: a folder of another study, or a cell failed.
    """
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
    repairs = Repairs(
        FAMILY, size.methods, size.axes, size.seeds, size.repair_trials, size.share, out / "repairs"
    )
    about = {"version": 1, "share": size.share}
    play(diversity.cells(), diversity.out, about | {"trials": diversity.trials})
    for cells in repairs.cells():
        if cells:
            play(cells, repairs.out, about | {"trials": repairs.trials})
    curve = Results(diversity.out)
    text = "\n\n".join(
        (
            "Scores by the number of distinct training tasks: 0 random, 1 the oracle.",
            diversity.markdown(curve),
            "What remedies change: the score with one less the score without, on id and at each level of an axis.",
            repairs.markdown(Results(repairs.out)),
        )
    )
    write_text(out / "remedies.md", text + "\n")
    drawn = diversity.draw(curve, DRAWN, out / "figures")
    print(text)
    print(f"\nWritten: {out / 'remedies.md'}. Drawn: {drawn}")
