"""Files that whoever runs the tests may not read, even as root."""

import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

_NOBODY = 65534


@contextmanager
def forbidden(path: Path, mode: int = 0) -> Generator[None]:
    """Inside this context ``path`` has no permissions but ``mode``; root becomes another user, to whom they apply."""
    before, root = stat.S_IMODE(path.stat().st_mode), os.geteuid() == 0
    path.chmod(mode)
    if root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        path.chmod(before)


@pytest.fixture
def shared_path() -> Generator[Path]:
    """A temporary folder that every user may enter and write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)
