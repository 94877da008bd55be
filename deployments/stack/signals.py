"""Ctrl-C, SIGTERM and a closed terminal: the first ends the wait, the next ones hurry the ending."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Somebody asked us to stop. No `Exception`: nothing between the signal and `up` may swallow it."""


@contextmanager
def stop_signals(hurry: Callable[[], None]) -> Iterator[None]:
    """Inside, the first signal raises `Stopped` in the main thread; each later one calls `hurry`."""
    asked = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            hurry()
            return
        asked = True
        raise Stopped

    former = {number: signal.signal(number, on_signal) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
