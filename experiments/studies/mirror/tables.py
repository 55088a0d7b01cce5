"""Tables of the study: headline, pairs, each method beside floor and ceiling, and the effect of a history's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.evaluation.stats import Interval
from bridge.report import escape
from experiments.studies.markdown import short, table
from experiments.studies.mirror.likeness import LEARNER, MEASURES, QUARTETS, Pair, Quartet
from experiments.studies.mirror.numbers import Numbers
from experiments.studies.named import Named


def markdown(
    family: str,
    by_split: Mapping[str, Numbers],
    extremes: Sequence[str],
) -> str:
    """Return all tables as Markdown.

    Args:
        family: the family.
        by_split: the numbers of every split.
        extremes: ``id``, and the last level of each axis.
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
        _order(by_split["id"]),
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


def _order(found: Numbers) -> str:
    rows = [(escape.markdown(name), short(moved, digits=4)) for name, moved in found.orders.items()]
    return table(("method", "total variation"), rows, texts=1)


def named(by_split: Mapping[str, Numbers]) -> Named:
    """Return every number by split, measure and two names: similarities of two methods, headlines by their name and the
    quartet's LoRA method, effects of order by the method's name and ``reversed``."""
    found: dict[tuple[str, ...], Interval] = {}
    for split, of in by_split.items():
        found |= {(split, measure, *pair): number for (measure, pair), number in of.pairs.items()}
        found |= {
            (split, measure, name, quartet.lora): number
            for (measure, quartet, name), number in of.headlines.items()
        }
        found |= {(split, "order", name, "reversed"): moved for name, moved in of.orders.items()}
    return found


def _named(pair: Pair) -> str:
    return escape.markdown(f"{pair[0]} - {pair[1]}")
