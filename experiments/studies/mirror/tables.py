"""Tables of the study: headline, pairs, each method beside floor and ceiling, and the effect of a history's order."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from math import isnan

from bridge.evaluation.stats import Interval, Resampled, interval
from bridge.report import escape
from bridge.similarity.divergences import total_variation
from experiments.studies.histories import Responses
from experiments.studies.markdown import short, table
from experiments.studies.mirror.likeness import LEARNER, MEASURES, QUARTETS, Pair, Quartet
from experiments.studies.mirror.numbers import Numbers


def markdown(
    family: str,
    by_split: Mapping[str, Numbers],
    extremes: Sequence[str],
    orders: tuple[Mapping[str, Responses], Mapping[str, Responses]],
) -> str:
    """Return all tables as Markdown.

    Args:
        family: the family.
        by_split: the numbers of every split.
        extremes: ``id``, and the last level of each axis.
        orders: responses to the histories of ``id``, and to the same in reverse order.
    """
    blocks = [
        f"Similarities on {family}, on histories that all methods observe: 1 for equal agents. policies: 1 less the "
        "Jensen-Shannon divergence; actions (the likeliest) and errors: Cohen's kappa; states: debiased CKA; "
        "simulation: R² of a linear map, the worse direction; curves: correlation of mean regrets given the optimum. "
        "If the posterior is known, only undecided histories count for policies and actions. Intervals of 95% over "
        "training seeds, on these trials.",
    ]
    quartets = by_split["id"].quartets
    for quartet in quartets:
        blocks += [
            f"**M: how much more alike are {' and '.join(_named(p) for p in quartet.alike)} than "
            f"{' and '.join(_named(p) for p in quartet.unlike)}?** Above 0 the mirror holds. Its halves: how much "
            f"nearer {quartet.icl} is to {quartet.rl2}, and the other one to {quartet.maml}.",
            _headline(quartet, by_split),
        ]
    if not quartets:
        needed = ", ".join(dict.fromkeys(name for quartet in QUARTETS for name in quartet))
        blocks.append(f"No M: not all of {needed} have runs on this family.")
    for quartet in quartets:
        blocks += [f"**Pairs on id**, {quartet.lora}", _pairs(quartet, by_split["id"])]
    blocks += [
        "**Policies of each method** beside those of random play (floor), the exact learner of the training "
        "distribution, and other training seeds of the same method (ceiling).",
        _policies({split: by_split[split] for split in extremes}),
        "**Does the order of a history matter?** Total variation between the policies after all shots and after the "
        "same shots in reverse order, on id.",
        _order(*orders),
    ]
    return "\n\n".join(blocks) + "\n"


def _headline(quartet: Quartet, by_split: Mapping[str, Numbers]) -> str:
    rows = [
        (
            split,
            name,
            found.histories,
            *(short(found.headlines[m, quartet, name]) for m in MEASURES),
        )
        for split, found in by_split.items()
        for name in quartet.claims
    ]
    return table(("split", "", "histories", *MEASURES), rows, texts=2)


def _pairs(quartet: Quartet, found: Numbers) -> str:
    """The pairs of a quartet, its crossed pairs, other seeds of each method, and the floor."""
    kinds = {
        "alike": quartet.alike,
        "not": quartet.unlike,
        "crossed": quartet.crossed,
        "ceiling": tuple((name, name) for name in quartet),
        "floor": tuple((name, "random") for name in quartet),
    }
    rows = [
        (kind, _named(pair), *(short(found.of(measure, pair)) for measure in MEASURES))
        for kind, of in kinds.items()
        for pair in of
    ]
    return table(("", "pair", *MEASURES), rows, texts=2)


def _policies(by_split: Mapping[str, Numbers]) -> str:
    """A line for each method."""
    others = {"random": "random", LEARNER: LEARNER, "seeds": ""}
    heads = ["method", *(f"{split}: {of}" for split in by_split for of in others)]
    rows = [
        (
            escape.markdown(method),
            *(
                short(found.of("policies", (method, other or method)), bare=True)
                for found in by_split.values()
                for other in others.values()
            ),
        )
        for method in by_split["id"].methods
    ]
    return table(heads, rows, texts=1)


def _order(forward: Mapping[str, Responses], backward: Mapping[str, Responses]) -> str:
    rows = []
    for name, ours in forward.items():
        away = total_variation(ours.policy[:, -1], backward[name].policy[:, -1]).mean(2)
        rows.append((escape.markdown(name), short(interval(Resampled.mean, away), digits=4)))
    return table(("method", "total variation"), rows, texts=1)


def comma_separated(by_split: Mapping[str, Numbers]) -> str:
    """Return every similarity of every two methods, and every headline, with its interval, as CSV."""
    with io.StringIO(newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("split", "measure", "one", "other", "n", "mean", "low", "high"))
        for split, measure, one, other, found in _numbers(by_split):
            if not isnan(found.mean):
                names = (escape.comma_separated(one), escape.comma_separated(other))
                out.writerow((split, measure, *names, found.n, *(f"{x:.6g}" for x in found[:3])))
        return file.getvalue()


def _numbers(by_split: Mapping[str, Numbers]) -> Iterator[tuple[str, str, str, str, Interval]]:
    for split, found in by_split.items():
        for (measure, pair), number in found.pairs.items():
            yield split, measure, *pair, number
        for (measure, quartet, name), number in found.headlines.items():
            yield split, measure, name, quartet.lora, number


def _named(pair: Pair) -> str:
    return escape.markdown(f"{pair[0]} - {pair[1]}")
