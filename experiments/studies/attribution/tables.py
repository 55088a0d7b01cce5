"""Tables of the study: the parts of each method's gap to the oracle, on every split."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from bridge.report import escape
from bridge.report.gaps import PARTS, Gap
from experiments.studies.markdown import short, table


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


def comma_separated(gaps: Mapping[str, Mapping[str, Gap]]) -> str:
    """Return every gap and part with its interval, as CSV."""
    with io.StringIO(newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("split", "method", "part", "n", "mean", "low", "high"))
        for split, by_method in gaps.items():
            for name, found in by_method.items():
                for part, number in {"gap": found.total, **found.parts}.items():
                    values = (f"{x:.6g}" for x in number[:3])
                    out.writerow((split, escape.comma_separated(name), part, number.n, *values))
        return file.getvalue()
