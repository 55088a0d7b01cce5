"""Tables of the study: the parts of each method's gap to the oracle, on every split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.report import escape
from bridge.report.gaps import PARTS, Gap
from experiments.studies.markdown import short, table
from experiments.studies.named import Named


def markdown(family: str, gaps: Mapping[str, Mapping[str, Gap]], left_out: Sequence[str]) -> str:
    """Return a table for each split; ``left_out`` names those without exact learners."""
    blocks = [
        f"Gaps to the oracle on {family}, in units of score, and their parts, which add up to them. information, "
        "prior: the best learner of the split, and of training, on the same context; representation: what cannot be "
        "read off the memory; inference: the rest on that context; optimisation: what more gradient steps gain; "
        "exploration: what is lost by the method's own context. An empty part is not known, and lies in inference. "
        "Intervals of 95% over training seeds, on these trials.",
    ]
    for split, by_method in gaps.items():
        rows = [
            (escape.markdown(name), short(found.total), *(short(found.parts.get(p)) for p in PARTS))
            for name, found in by_method.items()
        ]
        blocks += [f"**{split}**", table(("method", "gap", *PARTS), rows, texts=1)]
    if left_out:
        blocks.append(f"Left out, since the learners are not exact there: {', '.join(left_out)}.")
    return "\n\n".join(blocks) + "\n"


def named(gaps: Mapping[str, Mapping[str, Gap]]) -> Named:
    """Return every gap and part by split, method and the part's name; ``gap`` for the whole."""
    return {
        (split, method, part): number
        for split, by_method in gaps.items()
        for method, found in by_method.items()
        for part, number in {"gap": found.total, **found.parts}.items()
    }
