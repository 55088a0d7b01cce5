"""Every command, killed or asked to stop at moments of its whole length, ends as if it never was."""

import random
import signal

import pytest

from tests.experiments.survival.commands import differing, one_of_each_kind, products
from tests.experiments.survival.processes import Fault, last_word, run

pytestmark = pytest.mark.slow


def moments(seed: str, count: int, touches: int) -> list[int]:
    """How many touches of the disk each of ``count`` processes is given: together less than a whole run needs, and so
    that by the end of each another ``count``-th part of it is reached."""
    drawn = random.Random(seed)
    ends = [int((i + drawn.uniform(0.2, 0.9)) * touches / count) for i in range(count)]
    return [max(1, end - begin) for begin, end in zip([0, *ends], ends, strict=False)]


def test_killed_it_ends_as_if_it_never_was(command, context, base, whole, tmp_path):
    """Four kills between two touches of the disk, one in the middle of its largest file. What was half-written then is
    never read: it is spoilt before the command goes on."""
    out = tmp_path / "out"
    half = max(path.stat().st_size for path in whole.out.rglob("*") if path.is_file()) // 2
    faults = [
        Fault(signal=signal.SIGKILL, at=at) for at in moments(command.name, 4, len(whole.touched))
    ]
    faults.insert(2, Fault(largest=half, deadly=True))
    for number, fault in enumerate(faults):
        ended = run(context, tmp_path, command.at(out, again=number > 0, base=base), fault)
        assert ended.code == -(fault.signal or signal.SIGXFSZ), (number, fault, ended)
        for part in tmp_path.rglob("*.tmp"):
            if part.is_file():
                part.write_bytes(b"spoilt")
    ended = run(context, tmp_path, command.at(out, again=True, base=base))
    assert ended.code == 0, ended.said
    assert differing(products(out), whole.products) == []


@one_of_each_kind
def test_asked_to_stop_it_says_so_and_ends_as_if_it_never_was(
    command, context, base, whole, tmp_path
):
    """Once by Ctrl-C and once by SIGTERM, as it begins, and twice on its way."""
    out = tmp_path / "out"
    names = (signal.SIGINT, signal.SIGTERM)
    faults = [Fault(signal=name, at=1) for name in names]
    ats = moments(f"stop {command.name}", 2, len(whole.touched))
    faults += [Fault(signal=name, at=at) for name, at in zip(names, ats, strict=True)]
    for number, fault in enumerate(faults):
        ended = run(context, tmp_path, command.at(out, again=number > 0, base=base), fault)
        said = last_word(ended, 130)
        assert "kept" in said or "saved" in said
        assert "go on" in said.lower()
    ended = run(context, tmp_path, command.at(out, again=True, base=base))
    assert ended.code == 0, ended.said
    assert differing(products(out), whole.products) == []
