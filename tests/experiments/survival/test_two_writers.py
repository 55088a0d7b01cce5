"""Every command beside another one in the same folder, and where it cannot write at all."""

import signal

import pytest

from tests.experiments.survival.commands import differing, one_of_each_kind, products
from tests.experiments.survival.processes import (
    Ended,
    Fault,
    Running,
    last_word,
    run,
    run_on_own_disk,
)

pytestmark = [pytest.mark.slow, one_of_each_kind]


def check_refused(ended: Ended, why: str) -> None:
    """Before the first step of a simulator."""
    assert why in last_word(ended, 2)
    assert ended.steps == 0, "it had begun"


def test_a_second_process_is_refused_at_once_and_the_first_one_loses_nothing(
    command, context, base, whole, tmp_path
):
    """The first one is paused in the middle of its work. (Two that hold no folder write the same files.)"""
    out = tmp_path / "out"
    first = Running(
        context,
        tmp_path,
        command.at(out, base=base),
        Fault(signal=signal.SIGSTOP, at=len(whole.touched) // 2),
    )
    first.wait_until_stopped()
    try:
        second = run(context, tmp_path, command.at(out, again=True, base=base))
    finally:
        first.go_on()
    if command.locks:
        check_refused(second, "Another process is writing")
        assert set(second.touched) <= {"os.mkdir /out", "open /out/.lock"}
    else:
        assert second.code == 0, second.said
    ended = first.ended()
    assert ended.code == 0, ended.said
    assert differing(products(out), whole.products) == []


@pytest.mark.parametrize("touch", [1, 2, 3])
def test_one_that_comes_late_does_not_spoil_what_another_has_done(
    touch, command, context, base, whole, tmp_path
):
    """It is paused as it begins to write, and another one does all of the work before it goes on."""
    out = tmp_path / "out"
    late = Running(
        context, tmp_path, command.at(out, base=base), Fault(signal=signal.SIGSTOP, at=touch)
    )
    late.wait_until_stopped()
    try:
        early = run(context, tmp_path, command.at(out, base=base))
    finally:
        late.go_on()
    ended = late.ended()
    assert {early.code, ended.code} in ({0}, {0, 2}), (early, ended)
    assert "fault of ours" not in early.said + ended.said
    assert differing(products(out), whole.products) == []


def test_a_file_in_the_place_of_a_folder_is_found_before_the_first_step(
    command, context, base, whole, tmp_path
):
    place = tmp_path / "place"
    place.write_text("mine")
    for out in (place, place / "below"):
        check_refused(run(context, tmp_path, command.at(out, base=base)), str(place))
    assert place.read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_found_before_the_first_step(
    command, context, base, whole, tmp_path
):
    """A folder that is still to be made, and one that is finished, so that nothing is left to be done."""
    home, kept = tmp_path / "home", tmp_path / "kept"
    home.mkdir()
    out = home / "out"
    runs = [
        ("ro", command.at(home / "deep" / "out", base=base)),
        ("size=1g", command.at(out, base=base)),
    ]
    ended = run_on_own_disk(
        context, home, [*runs, ("ro", command.at(out, again=True, base=base))], kept
    )
    if ended is None:
        pytest.skip(
            "a file system of its own can only be mounted by root, in a container only if that is allowed"
        )
    fresh, first, again = ended
    check_refused(fresh, "ead-only file system")
    assert first.code == 0, first.said
    if again.code:
        check_refused(again, "ead-only file system")
    assert again.steps == 0
    assert differing(products(kept / "out"), whole.products) == []
