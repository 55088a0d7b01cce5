"""Files that are whole or absent, readable as the umask says, with names of their own; and storage that fails."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import save_file

from bridge import files
from bridge.errors import StorageError, UserError
from tests.full_disk import full_disk
from tests.permissions import forbidden, shared_path  # noqa: F401 - a fixture


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
    def write(place: Path) -> None:
        place = place / "a" if place.is_dir() else place
        place.write_text("1")
        raise error

    for attempt in (files.write_folder, files.write_whole):
        with pytest.raises(StorageError if error is OSError else error):
            attempt(tmp_path / "out", write)
        assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("1")
    with pytest.raises(StorageError, match="Could not write"):
        files.write_folder(tmp_path / "out", lambda folder: (folder / "a").write_text("2"))
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


TENSORS, TABLE = {"a": torch.zeros(30_000)}, pa.table({"x": torch.rand(30_000).numpy()})
WRITERS = {
    "text": lambda path: path.write_text("x" * 100_000),
    "safetensors": lambda path: save_file(TENSORS, path),
    "pyarrow": lambda path: pq.write_table(TABLE, path),
    "datasets": lambda path: datasets.Dataset(TABLE).to_parquet(str(path)),
    "matplotlib": lambda path: Figure(figsize=(50, 50)).savefig(
        path, format="png", pil_kwargs={"compress_level": 0}
    ),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_error_whatever_library_writes(writer, tmp_path):
    datasets.disable_progress_bars()
    with (
        full_disk(10_000),
        pytest.raises(StorageError, match=r"out: the disk is full\..* make room"),
    ):
        files.write_whole(tmp_path / "out", WRITERS[writer])
    with (
        full_disk(10_000),
        pytest.raises(StorageError, match=r"out: the disk is full\..* make room"),
    ):
        files.write_folder(tmp_path / "out", lambda folder: WRITERS[writer](folder / "a"))
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_written_is_known_before(tmp_path):
    files.probe(tmp_path / "new" / "file")
    with full_disk(10_000), pytest.raises(StorageError, match="disk is full"):
        files.probe(tmp_path / "new" / "file")
    assert list((tmp_path / "new").iterdir()) == []
    files.check_name(tmp_path / "none" / "file")
    with pytest.raises(StorageError, match=r"name too long\..* a shorter --out"):
        files.check_name(tmp_path / ("a" * 300))


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_the_umask_says_who_may_read(mask, tmp_path):
    before = os.umask(mask)
    try:
        for name, write in WRITERS.items():
            files.write_whole(tmp_path / name, write)
        files.write_folder(
            tmp_path / "folder", lambda folder: save_file(TENSORS, folder / "a.safetensors")
        )
        files.write_text(tmp_path / "line", "1\n")
        files.append_line(tmp_path / "log", "1")
    finally:
        os.umask(before)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert {
        name: mode
        for name, mode in found.items()
        if mode != (0o777 if name == "folder" else 0o666) & ~mask
    } == {}


def test_text_is_utf8_whatever_the_locale(tmp_path):
    script = (
        "import sys; from pathlib import Path; from bridge import files; path = Path(sys.argv[1]);"
        r"files.write_text(path, '\u00e9 \u00b1\n'); files.append_line(path, '\u00fc');"
        r"assert files.read_text(path) == '\u00e9 \u00b1\n\u00fc\n'"
    )
    plain = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], env=plain, check=True)
    assert (tmp_path / "a").read_bytes() == "é ±\nü\n".encode()
    (tmp_path / "a").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"a cannot be read: expected text in UTF-8"):
        files.read_text(tmp_path / "a")


def test_what_may_not_be_read_is_told_so(shared_path):  # noqa: F811
    (shared_path / "a").write_text("1")
    with (
        forbidden(shared_path / "a"),
        pytest.raises(UserError, match=r"a cannot be read: Permission denied\. Ask its"),
    ):
        files.read_text(shared_path / "a")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_no_other_process(code, tmp_path, monkeypatch):
    def flock(*_arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    heard: list[str] = []
    with files.locked(tmp_path, heard.append):
        (tmp_path / "a").write_text("1")
    assert "has no locks" in heard[0]
    assert len(heard) == 1
    monkeypatch.undo()
    with (
        files.locked(tmp_path, heard.append),
        pytest.raises(UserError, match="Another process"),
        files.locked(tmp_path),
    ):
        pass
    assert len(heard) == 1


def test_names_are_readable_and_nobody_elses():
    assert (
        files.name_of("bandit:k=5,n=10", "rl2:lr=0.001,hidden=8")
        == "bandit-k=5-n=10--rl2-lr=0.001-hidden=8"
    )
    assert (
        files.name_of("bandit:k=5", "rl2:lr=1e-3") == "bandit-k=5--rl2-lr=1e-3"
    )  # as before there was a digest
    specs = [
        "rl2:lr=1e-3",
        "rl2:lr=1e+3",
        "rl2:lr=1e3",
        "a:x=b/c",
        "a:x=b-c",
        "a:x=b c",
        "a:x=b",
        "é:x=ü",
    ]
    specs += [f"rl2:{'x' * 300}={number}" for number in range(3)]
    names = [files.name_of("bandit:k=5", spec) for spec in specs]
    assert len(set(names)) == len(specs)
    assert all(name.startswith("bandit-k=5--") and "/" not in name for name in names)
    assert max(len(name.encode()) for name in names) <= 160


def test_weights_of_a_folder_that_have_changed_are_named(tmp_path):
    def write(folder: Path) -> None:
        (folder / "in").mkdir()
        save_file(TENSORS, folder / "in" / "a.safetensors")
        (folder / "about.json").write_text("{}")

    out = tmp_path / "out"
    files.write_folder(out, write)
    files.verify(out)
    (out / "about.json").write_text("[]")  # is a person's to edit
    files.verify(out)
    assert (
        subprocess.run(
            ["sha256sum", "--check", "SHA256SUMS"], cwd=out, capture_output=True, check=False
        ).returncode
        == 0
    )
    whole = (out / "in" / "a.safetensors").read_bytes()
    (out / "in" / "a.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 64]))
    with pytest.raises(UserError, match=r"in/a\.safetensors is damaged, or was changed"):
        files.verify(out)
    (out / "in" / "a.safetensors").unlink()
    with pytest.raises(UserError, match=r"in/a\.safetensors cannot be read: No such file"):
        files.verify(out)
    (out / "SHA256SUMS").unlink()
    files.verify(out)
