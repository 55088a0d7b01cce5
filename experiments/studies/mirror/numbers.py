"""Every number of one split: similarities of all pairs, and how much more alike those are that should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bridge.evaluation.stats import Interval, Resampled, interval
from experiments.studies.histories import Responses
from experiments.studies.mirror.likeness import MEASURES, QUARTETS, Likeness, Pair, Quartet


@dataclass(frozen=True)
class Numbers:
    """The numbers of one split."""

    methods: tuple[str, ...]
    histories: int
    """Number of histories that count for policies and actions."""
    pairs: Mapping[tuple[str, Pair], Interval]
    """The similarity of each pair by each measure, in the order of ``methods``."""
    headlines: Mapping[tuple[str, Quartet, str], Interval]
    """By measure and by the names of ``Quartet.claims``: the similarity of the pairs that should be more alike, less
    that of the others."""
    orders: Mapping[str, Interval]
    """By method: the total variation between its policies after all shots and after the same in reverse order; empty
    unless signs were kept."""

    @property
    def quartets(self) -> tuple[Quartet, ...]:
        """Those whose four methods are here."""
        return tuple(dict.fromkeys(quartet for _, quartet, _ in self.headlines))

    def of(self, measure: str, pair: Pair) -> Interval | None:
        """Return the similarity of a pair, in either order; None if one of them is not here."""
        return self.pairs.get((measure, pair)) or self.pairs.get((measure, pair[::-1]))


def numbers(responses: Mapping[str, Responses]) -> Numbers:
    """Return the numbers of the responses of methods to the histories of one split."""
    here, names = Likeness(responses), tuple(responses)
    both = [
        (one, other)
        for at, one in enumerate(names)
        for other in names[at:]
        if one != other or responses[one].seeds > 1
    ]
    quartets = [quartet for quartet in QUARTETS if set(quartet) <= set(names)]
    return Numbers(
        methods=names,
        histories=int(here.histories.sum()),
        pairs={(m, pair): here.interval(m, (1.0, pair)) for m in MEASURES for pair in both},
        headlines={
            (measure, quartet, name): _difference(here, measure, *of)
            for measure in MEASURES
            for quartet in quartets
            for name, of in quartet.claims.items()
        },
        orders={
            name: interval(Resampled.mean, found.signs["order"][:, -1])
            for name, found in responses.items()
            if "order" in found.signs
        },
    )


def _difference(
    here: Likeness, measure: str, more: Sequence[Pair], less: Sequence[Pair]
) -> Interval:
    terms = [(weight, pair) for weight, of in ((1.0, more), (-1.0, less)) for pair in of]
    return here.interval(measure, *terms)
