"""The package ``minari`` and its datasets: imported when they are needed, by names that are checked first."""

from __future__ import annotations

import re
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from bridge.errors import UserError, in_words, nearest

if TYPE_CHECKING:
    from collections.abc import Generator

    from minari import MinariDataset

_NAME = re.compile(r"(?:[\w-]+/)*[\w-]+-v\d+", re.ASCII)


def package() -> ModuleType:
    """The package.

    Raises:
        UserError: it is not installed.
    """
    try:
        import minari
    except ImportError as error:
        raise UserError(
            f"Minari datasets need minari ({error}). Install it: pip install 'metabridge[minari]'"
        ) from None
    return minari


def check_name(name: str) -> None:
    """Make sure that ``name`` can be a dataset's.

    Raises:
        UserError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"The name of a Minari dataset is NAME-v0, or FOLDER/NAME-v0, of letters, digits, _ and -; found {name!r}. "
            "Write it so, with a version."
        )


def load(name: str) -> MinariDataset:
    """A dataset of this machine.

    Raises:
        UserError: there is none of this name, or it cannot be read.
    """
    check_name(name)
    minari = package()
    try:
        with reading(name):
            return minari.load_dataset(name)
    except FileNotFoundError:
        raise UserError(
            f"There is no Minari dataset {name!r} on this machine. {nearest(name, _local())}Fetch it: minari download "
            f"{name}. Or make one: metabridge data SOURCES --family FAMILY --out FOLDER --minari {name}"
        ) from None


def _local() -> list[str]:
    """The names of this machine's datasets; none if minari cannot list them, as when one has no version."""
    try:
        with quiet():
            return list(package().list_local_datasets())
    except Exception:
        return []


@contextmanager
def reading(name: str) -> Generator[None]:
    """Errors of the package as errors that name the dataset; ``FileNotFoundError`` stays as it is.

    Raises:
        UserError: the package raised.
    """
    try:
        with quiet():
            yield
    except (UserError, FileNotFoundError):
        raise
    except ImportError as error:
        raise UserError(
            f"The Minari dataset {name} needs a package ({error}). Install it: pip install 'metabridge[minari]'"
        ) from error
    except Exception as error:
        raise UserError(
            f"The Minari dataset {name} cannot be read ({in_words(error)}). Fetch it or make it again."
        ) from error


@contextmanager
def quiet() -> Generator[None]:
    """No warnings of missing authors and links."""
    with catch_warnings():
        simplefilter("ignore")
        yield
