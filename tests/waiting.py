"""Waiting for what another process or thread does: a deadline, not a pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(look: Callable[[], Found], describe: str | Callable[[], str], seconds: float = 90) -> Found:
    """What `look` finds, as soon as it finds anything. `describe` tells what was missed, at the end if it is called."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (found := look()):
        if time.monotonic() > deadline:
            what = describe if isinstance(describe, str) else describe()
            raise AssertionError(f"not within {seconds:g} s: {what}")
        pause.wait(0.05)
    return found
