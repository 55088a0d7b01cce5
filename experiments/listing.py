"""The names that a user can type, as plain objects: families, methods, splits, axes, sizes of ``compare`` and the zoo.

Families at their defaults and our own methods stand in ``catalogue.json``, which is read without torch. The others, of
other packages or with parameters, are computed, which takes torch.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from bridge import plugins
from bridge.errors import UserError
from experiments import registry, zoo
from experiments.sizes import SIZES

Entry = dict[str, Any]
AT_TEST = "A trained run (run=RUN) with gradient steps at test"
"""The beginning of the summary of every method of fine-tuning at test."""
_CATALOGUE = Path(__file__).with_name("catalogue.json")


def entries(what: str, families: tuple[str, ...] = ()) -> list[Entry]:
    """Return the objects of one kind; splits and axes of ``families``, or of every family at its defaults.

    Raises:
        UserError: an unknown family, or ``families`` of something that has none.
    """
    if what in ("experiments", "zoo"):
        if families:
            raise UserError(
                f"--family is for families, methods, splits and axes; {what} name theirs. Leave it out."
            )
        return zoo.listing() if what == "zoo" else _sizes()
    if families:
        from experiments import catalogue

        return catalogue.entries(what, families)
    found = _stored()[what]
    if registry.LEARNERS.added or plugins.names("metabridge.families"):
        from experiments import catalogue

        return found + catalogue.added(what)
    return found


def entries_of(what: str, family: str) -> list[Entry]:
    """Return the families, splits or axes of one family, which may have parameters.

    Raises:
        UserError: an unknown family.
    """
    for known in entries("families"):
        if family in (known["name"], known["id"]):
            key = "id" if what == "families" else "family"
            return [entry for entry in entries(what) if entry[key] == known["id"]]
    return entries(what, (family,))


def details(what: str, name: str) -> Entry:
    """Return the details (``experiments/details.py``) of one of the ``methods``, or of one of the ``families``, by id.

    Raises:
        UserError: an unknown family.
    """
    stored = _stored()["details"][what]
    if name in stored:
        return stored[name]
    from experiments import catalogue

    return catalogue.details_of(what, name)


@functools.cache
def _stored() -> dict[str, Any]:
    """The content of ``catalogue.json``: lists of objects by kind, and ``details``."""
    return json.loads(_CATALOGUE.read_text(encoding="utf-8"))


def _sizes() -> list[Entry]:
    return [
        {
            "name": f"compare --size {name}",
            "families": size.families,
            "methods": size.methods,
            "splits": size.splits,
        }
        for name, size in SIZES.items()
    ]
