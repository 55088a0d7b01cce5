"""Requests to stop: heard without breaking into anything, at a second time as ever."""

import signal

import pytest

from bridge import interrupts


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_the_first_request_is_told_and_the_second_acts(name):
    class StoppedError(Exception):
        pass

    def stop(_number, _frame):
        raise StoppedError

    before = signal.signal(name, stop)
    try:
        with interrupts.asked_to_stop() as asked:
            assert not asked()
            signal.raise_signal(name)
            assert asked()
            with pytest.raises(StoppedError):
                signal.raise_signal(name)
        assert signal.getsignal(name) is stop
        with interrupts.asked_to_stop():
            pass
        assert signal.getsignal(name) is stop
    finally:
        signal.signal(name, before)


def test_a_request_to_end_is_as_ctrl_c():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interrupts.sigterm_as_ctrl_c():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_is_held_comes_when_it_is_taken():
    """A shell's background job ignores SIGINT, so that the test sets a handler of its own."""
    heard = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interrupts.held():
            signal.raise_signal(signal.SIGINT)
            assert signal.SIGINT in signal.sigpending()
            interrupts.take(lambda number, _frame: heard.append(number))
            assert heard == [signal.SIGINT]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt), interrupts.held():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
