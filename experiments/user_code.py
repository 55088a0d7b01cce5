"""A user's own code: a file or a module is imported, its neighbours can be, and its errors name its own lines.

The folder is on ``sys.path`` for the time of a ``with``, after all others: ``random.py`` beside a user's file is no
random for anybody else, nor is a file of that name. Modules that came from the folder are forgotten afterwards.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import bridge
import experiments
import llm_adapt
import rl_algos
from bridge.errors import UserError, unknown


@contextmanager
def importable(target: str) -> Generator[None, None, None]:
    """Let what stands beside ``file.py:name`` be imported; for ``module:name``, what is in the current folder."""
    place, _, _ = target.rpartition(":")
    folder = str(_root(Path(place)) if place.endswith(".py") else Path.cwd())
    before = set(sys.modules)
    sys.path.append(folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]
        for name in set(sys.modules) - before:
            if not _is_found(name.partition(".")[0]):
                del sys.modules[name]


def _is_found(package: str) -> bool:
    """True if it can be imported with the present ``sys.path``, whether or not it has been imported before."""
    return any(finder.find_spec(package, None) for finder in sys.meta_path)


def load(target: str) -> Any:
    """Return the object that ``path/to/file.py:name`` or ``module:name`` names, while it is ``importable``.

    Raises:
        UserError: there is no such file or name, or the import fails (with the file and line).
    """
    place, _, attribute = target.rpartition(":")
    with as_user_errors(f"{place} cannot be imported"):
        module = _of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    if not hasattr(module, attribute):
        raise unknown(
            f"name in {place}:", attribute, [n for n in vars(module) if not n.startswith("_")]
        )
    return getattr(module, attribute)


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call with as many of the arguments, from the first on, as ``function`` takes.

    Raises:
        TypeError: it needs others.
    """
    signature = inspect.signature(function)
    for count in range(len(arguments), -1, -1):
        try:
            signature.bind(*arguments[:count])
        except TypeError:
            continue
        return function(*arguments[:count])
    raise TypeError(f"its arguments are {signature}")


@contextmanager
def as_user_errors(what: str) -> Generator[None, None, None]:
    """Turn errors of a user's code into a ``UserError`` that begins with ``what`` and names the file and line."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{what}: {_where(error)}{type(error).__name__}: {error}") from error


def _where(error: BaseException) -> str:
    """File and line of the innermost frame that is neither a library's nor ours: the user's own."""
    if isinstance(error, SyntaxError):
        return ""  # says so itself
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_OTHERS)
    ]
    return f"{frames[-1].filename}, line {frames[-1].lineno}: " if frames else ""


_OTHERS = (
    "<",
    *(
        str(Path(package.__file__ or "").parent) + os.sep
        for package in (bridge, experiments, rl_algos, llm_adapt)
    ),
    *(sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib")),
)
"""Prefixes of the names of files that are not the user's."""


def _root(file: Path) -> Path:
    """The folder that the file, or the package that it is of, lies in."""
    folder = file.resolve().parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _of_file(file: Path) -> ModuleType:
    """The module of a file: by its full name in a package, by a name that nobody else has if it stands alone."""
    if not file.is_file():
        raise UserError(f"There is no file {file}. Write path/to/file.py:name.")
    file, root = file.resolve(), _root(file)
    if file.parent != root:
        name = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        module = importlib.import_module(name)
        if Path(module.__file__ or "").resolve() != file:
            raise UserError(
                f"{file} is the module {name}, which is {module.__file__} here. Rename its package."
            )
        return module
    name = f"metabridge_user_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
