"""Every command on a disk that fills up: one plain error, nothing lost, and with more room it goes on."""

import pytest

from tests.experiments.survival.commands import differing, one_of_each_kind, products
from tests.experiments.survival.processes import Ended, Fault, last_word, run, run_on_own_disk

pytestmark = [pytest.mark.slow, one_of_each_kind]
PAGE = 4096


def check_told(ended: Ended) -> None:
    """The disk is full, in one line, which says what is kept and what to do; no other cell was begun."""
    said = last_word(ended, 2)
    assert "the disk is full" in said
    assert "kept" in said
    assert "make room" in said
    assert "failed: " not in ended.said


def pages(place) -> int:
    """Bytes that the files of a folder take in memory."""
    return sum(
        -(-path.stat().st_size // PAGE) * PAGE for path in place.rglob("*") if path.is_file()
    )


def test_on_a_disk_that_fills_up_it_goes_on_once_there_is_room(
    command, context, base, whole, tmp_path
):
    """Four disks, each larger than the one before, the last one with room for nine tenths of all; then enough."""
    home, kept = tmp_path / "home", tmp_path / "kept"
    home.mkdir()
    need = pages(whole.out.parent)
    sizes = [max(PAGE, int(part * need) // PAGE * PAGE) for part in (0, 0.3, 0.6, 0.9)]
    runs = [
        (f"size={size}", command.at(home / "out", again=n > 0, base=base))
        for n, size in enumerate(sizes)
    ]
    runs.append(("size=1g", command.at(home / "out", again=True, base=base)))
    ended = run_on_own_disk(context, home, runs, kept)
    if ended is None:
        pytest.skip(
            "a file system of its own can only be mounted by root, in a container only if that is allowed"
        )
    *full, last = ended
    for one in full:
        check_told(one)
    assert last.code == 0, last.said
    assert differing(products(kept / "out"), whole.products) == []


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_limit_on_the_size_of_files_is_a_full_disk(
    share, command, context, base, whole, tmp_path
):
    """Smaller files are still written, so it is found at other moments than on a full disk."""
    out = tmp_path / "out"
    largest = max(path.stat().st_size for path in whole.out.rglob("*") if path.is_file())
    ended = run(context, tmp_path, command.at(out, base=base), Fault(largest=int(share * largest)))
    check_told(ended)
    ended = run(context, tmp_path, command.at(out, again=True, base=base))
    assert ended.code == 0, ended.said
    assert differing(products(out), whole.products) == []
