"""Names that other packages add: entry points beside a table of our own.

[project.entry-points."metabridge.families"]
maze = "my_package.maze:Maze"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from bridge.errors import UserError

T = TypeVar("T")


def names(group: str) -> list[str]:
    """Return the sorted names of the entry points of a group."""
    return sorted(entry_points(group=group).names)


class Registry(Mapping[str, T]):
    """A read-only table by name: ``builtin``, then the entry points of ``group``, each loaded when it is first used.

    A built-in name wins over an entry point of the same name.

    Args:
        builtin: the table of our own.
        group: the name of the group of entry points.
        kind: the type of entries.
        subclasses: True if entries are subclasses of ``kind``, False if they are instances of it.
    """

    def __init__(
        self, builtin: Mapping[str, T], group: str, kind: type[Any], *, subclasses: bool = False
    ) -> None:
        self.builtin, self.group = dict(builtin), group
        self._kind, self._subclasses = kind, subclasses
        self._loaded: dict[str, T] = {}

    @cached_property
    def added(self) -> dict[str, EntryPoint]:
        """The entry points by name, in the order of their names."""
        points = sorted(entry_points(group=self.group), key=lambda point: point.name)
        return {point.name: point for point in points if point.name not in self.builtin}

    def __getitem__(self, name: str) -> T:
        if name in self.builtin:
            return self.builtin[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(self.added[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.builtin or name in self.added

    def __iter__(self) -> Iterator[str]:
        yield from self.builtin
        yield from self.added

    def __len__(self) -> int:
        return len(self.builtin) + len(self.added)

    def _load(self, point: EntryPoint) -> T:
        package = point.dist.name if point.dist else "a package"
        try:
            loaded = point.load()
        except Exception as error:
            raise UserError(
                f"{point.name} of {package} cannot be loaded ({type(error).__name__}: {error}). Mend or uninstall "
                f"{package}."
            ) from error
        if self._subclasses:
            fits = isinstance(loaded, type) and issubclass(loaded, self._kind)
        else:
            fits = isinstance(loaded, self._kind)
        if not fits:
            wanted = (
                f"{'a subclass' if self._subclasses else 'an instance'} of {self._kind.__name__}"
            )
            raise UserError(
                f"{point.name} of {package} is {loaded!r}; entry points of {self.group} are {wanted}."
            )
        return loaded
