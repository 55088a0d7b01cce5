"""A scene: what the figures of one family on one track show. Its methods, their groups, their seeds and trials."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from bridge.report.figures.drawing import Drawn
from bridge.report.figures.looks import Look, is_bound
from bridge.report.summary import Key, Results

_OTHERS = "methods"
_KINDS = {
    "context": "adapt in context",
    "context, gradient": "in context, by gradient",
    "gradient": "adapt by gradient",
    "nothing": "do not adapt",
    "": _OTHERS,
}
"""Headings of methods that are no references, by how they adapt."""
_BEST = 2
"""Number of references that are drawn beside learned methods and the bounds."""


@dataclass(frozen=True)
class Scene:
    """A family on a track."""

    results: Results
    family: str
    track: str
    cast: tuple[Drawn, ...]
    """The methods that are drawn: learned ones by kind, then references."""

    @property
    def name(self) -> str:
        """The family, and the track if it is not O."""
        return self.family + ("" if self.track == "O" else f" · track {self.track}")

    @property
    def learned(self) -> list[Drawn]:
        """The methods that are no references."""
        return [drawn for drawn in self.cast if not drawn.reference]

    def key(self, split: str, drawn: Drawn) -> Key:
        """The key of a method's results on a split."""
        return Key(self.family, split, drawn.name, self.track)

    def sizes(self, splits: Collection[str], cast: Iterable[Drawn]) -> str:
        """Training seeds and trials of methods on splits, as ``seeds_and_trials`` words them."""
        seeds, trials = set(), set()
        for drawn in cast:
            for key in (self.key(split, drawn) for split in splits):
                if sums := self.results.sums(key, key.scored):
                    of_key = sums.parts.shape[1]
                    trials.add(sums.trials // of_key)
                    seeds |= set() if drawn.reference else {of_key}
        return seeds_and_trials(seeds, trials)


def scene(results: Results, family: str, track: str, looks: dict[str, Look]) -> Scene:
    """The scene of a family on a track.

    Beside learned methods, only some references are drawn: the bounds of scores, and those that earn most on ``id``.
    """
    about = {
        key.method: about
        for key, about in results.about.items()
        if (key.family, key.track) == (family, track)
    }
    references = [method for method in about if about[method]["exact"]]
    learned = [method for method in about if method not in references]
    heading = "references"
    if learned:
        others = [method for method in references if not is_bound(method)]
        keys = sorted(
            (Key(family, "id", method, track) for method in others),
            key=lambda key: -_earned(results, key),
        )
        best = [key.method for key in keys[:_BEST]]
        references = [method for method in references if is_bound(method) or method in best]
        heading = "references" if len(others) == len(best) else "best references"
    undertrained = results.undertrained(family)
    cast = [
        Drawn(method, looks[method], kind, undertrained=method in undertrained)
        for kind in _KINDS.values()
        for method in learned
        if _KINDS.get(about[method]["adapts"], _OTHERS) == kind
    ]
    cast += [Drawn(method, looks[method], heading, reference=True) for method in references]
    return Scene(results, family, track, tuple(cast))


def _earned(results: Results, key: Key) -> float:
    """The mean return; minus infinity if it is not known."""
    mean = results.mean(key, key.scored)
    return mean.mean if mean else float("-inf")


def seeds_and_trials(seeds: Collection[int], trials: Collection[int]) -> str:
    """``3 training seeds, n = 4,200 trials each``, with ranges if numbers differ; what is not known is left out."""
    parts = []
    if seeds:
        parts.append(f"{span(seeds)} training seed{'s' * (max(seeds) > 1)}")
    if trials:
        each = " each" if max(seeds, default=1) > 1 else ""
        parts.append(f"n = {span(trials)} trials{each}")
    return ", ".join(parts)


def span(numbers: Collection[int]) -> str:
    """Return ``3``, or ``1 to 3``."""
    return " to ".join(f"{number:,}" for number in sorted({min(numbers), max(numbers)}))
