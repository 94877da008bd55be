"""Ctrl-C, SIGTERM and a closed terminal: the first ends a wait, later ones hurry the ending and never break it off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Somebody asked us to stop. No `Exception`: nothing between the signal and its receiver may swallow it."""


@contextmanager
def raising_stopped() -> Iterator[None]:
    """Inside, the first signal raises `Stopped` in the main thread; the next ones are left to the ending."""
    asked = False

    def on_signal() -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise Stopped

    with _handled_by(on_signal):
        yield


@contextmanager
def hurried_by_signals(hurry: Callable[[], None]) -> Iterator[None]:
    """Inside, each signal calls `hurry`."""
    with _handled_by(hurry):
        yield


@contextmanager
def _handled_by(react: Callable[[], None]) -> Iterator[None]:
    """Only the main thread can have signals; elsewhere they stay as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        react()

    former = {number: signal.signal(number, on_signal) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
