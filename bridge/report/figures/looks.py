"""The look of every method: its colour, marker and dash, the same in every figure.

Learned methods are coloured, references grey. The first six colours are Okabe and Ito's, which colour-blind readers can
tell apart; beyond them, markers do. A method that is made from another one has the colour and the marker of that one:
dashed and half filled if gradient steps are added at test, with a white marker if its weights were trained elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bridge.references.registry import REFERENCES

Look = dict[str, Any]
"""Colour, marker and dash of a line, as matplotlib's keyword arguments."""

_COLOURS = (
    "#E69F00", "#CC79A7", "#D55E00", "#882255", "#009E73", "#8C510A", "#999933", "#117733", "#44AA99", "#56B4E9",
    "#0072B2", "#332288",
)  # fmt: skip
_GREYS = ("0.35", "0.5", "0.65")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_THIN_MARKERS = ("+", "x", "1", "2", "3", "4", "|", "_")
_DASHES = ((0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (5, 1, 1, 1, 1, 1)))
_STYLES: tuple[Look, ...] = (
    {"markerfacecolor": "white"},
    *({"linestyle": dash, "fillstyle": half} for dash in _DASHES for half in ("bottom", "top")),
)
"""Looks of methods made from another one, by what is added to its name."""


def _pairs(colours: Sequence[str], markers: Sequence[str]) -> list[Look]:
    """All pairs of a colour and a marker, solid, then dashed. The numbers of colours and markers are coprime."""
    return [
        {
            "color": colours[place % len(colours)],
            "marker": markers[place % len(markers)],
            "linestyle": dash,
        }
        for dash in ("-", *_DASHES)
        for place in range(len(colours) * len(markers))
    ]


_LEARNED = _pairs(_COLOURS, _MARKERS)
_OTHERS = _pairs(_GREYS, _THIN_MARKERS)
_BOUNDS: dict[str, Look] = {
    "random": {"color": "0.45", "linestyle": ":", "marker": ""},
    "oracle": {"color": "0.15", "linestyle": (0, (1, 1)), "marker": ""},
    "bayes": {"color": "black", "linestyle": "--", "marker": ""},
    "bayes_train": {"color": "0.3", "linestyle": "-.", "marker": ""},
}
"""The references that scores are measured by."""


def is_bound(method: str) -> bool:
    """True for the references that scores are measured by."""
    return method in _BOUNDS


def looks(registered: Mapping[str, str], drawn: Iterable[str] = ()) -> dict[str, Look]:
    """The look of every method, by name; no two methods look alike.

    Args:
        registered: the names that the project knows, each with the method that it is made from (empty: none). Each has
            its look by its place, whatever is drawn.
        drawn: the names in a figure. Those that are not registered get a free look, chosen by a digest of the name.
    """
    bases = [name for name, base in registered.items() if not base and name not in REFERENCES]
    found = dict(zip(bases, _LEARNED, strict=False))
    made = {name: base for name, base in registered.items() if base}
    added = list(dict.fromkeys(name.removesuffix(base) for name, base in made.items()))
    for name, base in made.items():
        found[name] = found[base] | _STYLES[added.index(name.removesuffix(base)) % len(_STYLES)]
    others = [name for name in REFERENCES if name not in _BOUNDS]
    found |= _BOUNDS | dict(zip(others, _OTHERS, strict=False))
    new = sorted(set(drawn) - found.keys())
    references = [name for name in new if name.partition(":")[0] in REFERENCES]
    found |= _free(references, _OTHERS, len(others))
    return found | _free([name for name in new if name not in references], _LEARNED, len(bases))


def _free(names: Iterable[str], pool: Sequence[Look], taken: int) -> dict[str, Look]:
    """A look of ``pool[taken:]`` for each name, a solid one if some are left, chosen by a digest of the name."""
    free = list(range(taken, len(pool)))
    solid = len(pool) // (1 + len(_DASHES)) - taken
    found = {}
    for name in names:
        first = taken + int(hashlib.sha256(name.encode()).hexdigest(), 16) % solid
        place = next((place for place in free if place >= first), free[0])
        found[name] = pool[place]
        free.remove(place)
        free = free or list(range(taken, len(pool)))
    return found
