"""Folders that are whole or absent."""

from pathlib import Path

import pytest

from bridge import files
from bridge.errors import StorageError


def test_a_folder_is_there_when_it_is_whole(tmp_path):
    def write(folder: Path) -> None:
        (folder / "in").mkdir()
        (folder / "in" / "a").write_text("1")
        assert not (tmp_path / "out").exists()

    files.write_folder(tmp_path / "out", write)
    assert (tmp_path / "out" / "in" / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_what_breaks_off_leaves_nothing(error, tmp_path):
    def write(folder: Path) -> None:
        (folder / "a").write_text("1")
        raise error

    with pytest.raises(StorageError if error is OSError else error):
        files.write_folder(tmp_path / "out", write)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("1")
    with pytest.raises(StorageError, match="Could not write"):
        files.write_folder(tmp_path / "out", lambda folder: (folder / "a").write_text("2"))
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]
