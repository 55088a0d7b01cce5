"""A user's own code, named where a registered name could stand: ``path/to/file.py:Name`` or ``package.module:Name``.

What lies beside a file can be imported, also while it plays, but after all else: ``random.py`` there is no random for
anybody else. Two folders do not see each other's modules. An error in such code names its own file and line.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from bridge.errors import UserError, in_words, nearest, unknown

_TARGET = re.compile(
    r"(?:[^:]+\.py(?=:|$)|[^\W\d][\w.]*(?=:[^\W\d]\w*(?::|$)))(?::[^\W\d]\w*(?=:|$))?"
)
_OURS = ("bridge", "experiments", "rl_algos", "llm_adapt")
_OTHERS = (
    *(f"{Path(__file__).parents[1] / package}{os.sep}" for package in _OURS),
    *(sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib")),
)
"""Prefixes of the names of files that are no user's, also if they lie in a folder of one."""


def target_of(spec: str) -> str:
    """Return the part of ``spec`` before its parameters if it names a user's own code (``maze.py:Maze``), else ``""``.

    A folder is none, whatever its name.
    """
    found = _TARGET.match(spec.strip())
    return found[0] if found and not Path(spec).is_dir() else ""


def portable(target: str) -> str:
    """Return ``target`` as it is kept in results and run folders: a file in the current folder by its relative path."""
    place, colon, name = target.partition(":")
    if not place.endswith(".py"):
        return target
    path = Path(os.path.abspath(place))
    here = Path.cwd()
    return f"{path.relative_to(here) if path.is_relative_to(here) else path}{colon}{name}"


def load(target: str) -> Any:
    """Return the object that ``target`` names. A file that has changed is loaded again.

    Raises:
        UserError: there is no such file, module or name, or the import fails (with the file and line).
    """
    place, _, name = target.partition(":")
    module = _module(place)
    if not hasattr(module, name):
        own = [
            each
            for each, thing in vars(module).items()
            if getattr(thing, "__module__", "") == module.__name__ and not each.startswith("_")
        ]
        if not name:
            raise UserError(
                f"Name what is meant in {place}: {place}:NAME. It defines {', '.join(own) or 'nothing'}."
            )
        raise unknown(f"name in {place}:", name, own)
    _used[target] = None
    return getattr(module, name)


def import_beside(module: str) -> None:
    """Import a module, also one that lies in the current folder, which a console script does not look into.

    Raises:
        ImportError: there is none, or its import fails.
    """
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        if (here := os.getcwd()) in sys.path:
            raise
        sys.path.append(here)
        importlib.import_module(module)


def loaded() -> list[str]:
    """Return all that has been loaded in this process, in order."""
    return list(_used)


def changed_at(target: str) -> float:
    """Return the time at which the file of ``target`` last changed, in seconds since 1970.

    Raises:
        UserError: as ``load``.
    """
    return _file(target).stat().st_mtime


def digest(target: str) -> str:
    """Return eight hex digits of a hash of the file of ``target``.

    Raises:
        UserError: as ``load``.
    """
    return hashlib.sha256(_file(target).read_bytes()).hexdigest()[:8]


def _file(target: str) -> Path:
    return Path(_module(target.partition(":")[0]).__file__ or "")


# --- errors -----------------------------------------------------------------------------------------------------------


@contextmanager
def as_user_errors(what: str) -> Generator[None]:
    """Turn errors of a user's code into a ``UserError`` that begins with ``what`` and names the file and line."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{what}: {described(error)}") from error


def is_at_fault(error: BaseException) -> bool:
    """Return True if an error arose in a user's code, or in what that called."""
    return not isinstance(error, UserError) and bool(_frames(error))


def described(error: BaseException) -> str:
    """Return an error in words: ``own.py, line 3: KeyError: 'arms'``, where the line is the user's last one, if any."""
    frames = [] if isinstance(error, SyntaxError) else _frames(error)  # which names its own line
    where = f"{portable(frames[-1].filename)}, line {frames[-1].lineno}: " if frames else ""
    return f"{where}{in_words(error)}"


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of an error that are in a user's code."""
    return [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(tuple(root + os.sep for root in _NEIGHBOURS.roots))
        and not frame.filename.startswith(_OTHERS)
    ]


# --- modules ----------------------------------------------------------------------------------------------------------


class _Neighbours(MetaPathFinder):
    """Finds top-level modules in the folders of users' files, after all other finders.

    Attributes:
        roots: the folders; the one of the file that was loaded last comes first.
        root_of: the folder of each module that was found.
    """

    def __init__(self) -> None:
        self.roots: list[str] = []
        self.root_of: dict[str, str] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        for root in self.roots if path is None else ():
            if found := PathFinder.find_spec(fullname, [root]):
                self.root_of[fullname] = root
                return found
        return None

    @contextmanager
    def only(self, root: str) -> Generator[None]:
        """Find modules in this folder alone inside the context; afterwards in it first, unless there was an error."""
        if self not in sys.meta_path:
            sys.meta_path.append(self)
        importlib.invalidate_caches()
        others = [other for other in self.roots if other != root]
        hidden = {
            name: module
            for name, module in sys.modules.items()
            if self.root_of.get(name.partition(".")[0], root) != root
        }
        for name in hidden:
            del sys.modules[name]
        before, self.roots = self.roots, [root]
        try:
            yield
            before = [root, *others]
        finally:
            self.roots = before
            for name, module in hidden.items():
                sys.modules.setdefault(name, module)


_NEIGHBOURS = _Neighbours()
_used: dict[str, None] = {}
_files: dict[Path, tuple[int, ModuleType]] = {}
"""The time of change and the module of each file that was named."""


def _module(place: str) -> ModuleType:
    """The module of a file, or of a name in the current folder or elsewhere."""
    if not place.endswith(".py"):
        with _NEIGHBOURS.only(str(Path.cwd())), as_user_errors(f"{place} cannot be imported"):
            if place not in sys.modules and not importlib.util.find_spec(place.partition(".")[0]):
                raise UserError(
                    f"{place} cannot be imported: there is no such module in {Path.cwd()} or among the installed ones. "
                    "Write module:Name, or path/to/file.py:Name."
                )
            return importlib.import_module(place)
    file = Path(place)
    if not file.is_file():
        raise _no_file(file)
    file = file.resolve()
    root, changed = _root(file), file.stat().st_mtime_ns
    if file not in _files or _files[file][0] != changed:
        with _NEIGHBOURS.only(str(root)), as_user_errors(f"{place} cannot be imported"):
            module = _of_file(file) if file.parent == root else _of_package(file, root)
        _files[file] = changed, module
    return _files[file][1]


def _no_file(file: Path) -> UserError:
    folder = "" if file.is_absolute() else f" in {Path.cwd()}"
    hint = nearest(file.name, [other.name for other in file.parent.glob("*.py")])
    return UserError(
        f"There is no file {file}{folder}. {hint}Write path/to/file.py:Name. If results or a run folder name it, run "
        "the command in the folder in which they were made (a run is also played with the --family that you name)."
    )


def _root(file: Path) -> Path:
    """The folder that the file, or the package that it is of, lies in."""
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _of_package(file: Path, root: Path) -> ModuleType:
    """The module of a file in a package, by its full name."""
    name = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    if Path(module.__file__ or "").resolve() != file:
        raise UserError(
            f"{file} is the module {name}, which is {module.__file__} here. Rename its package."
        )
    return module


def _of_file(file: Path) -> ModuleType:
    """The module of a file that stands alone, by a name that no other file has; its neighbours get the same module."""
    known = sys.modules.get(file.stem)
    if known and file not in _files and getattr(known, "__file__", "") == str(file):
        return known  # imported by a neighbour
    name = f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    names = [name] + ([file.stem] if _is_found(file) else [])
    before = {each: sys.modules[each] for each in names if each in sys.modules}
    sys.modules |= dict.fromkeys(names, module)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        for each in names:
            sys.modules.pop(each, None)
        sys.modules |= before
        raise
    return module


def _is_found(file: Path) -> bool:
    """True if a neighbour that imports the name of ``file`` finds it, and no other module."""
    name = file.stem
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", "") == str(file)
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    return found is not None and found.origin == str(file)
