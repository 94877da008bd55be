"""The first SIGTERM or Ctrl-C asks a worker to end, the second to hurry.

Prefect turns the first SIGTERM into a SIGINT, which a worker that was started with `&` from a script ignores, and
kills itself at the second.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

_NUMBERS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def ended_by_signals(hurry: Callable[[], None]) -> Iterator[None]:
    """Cancel the current task at the first signal, call `hurry` at later ones. For the main thread."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    asked = False

    def hear() -> None:
        nonlocal asked
        if asked or task is None:
            hurry()
        else:
            asked = True
            task.cancel()

    for number in _NUMBERS:
        loop.add_signal_handler(number, hear)
    try:
        yield
    finally:
        for number in _NUMBERS:
            loop.remove_signal_handler(number)
