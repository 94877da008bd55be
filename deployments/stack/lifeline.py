"""The child's end of its lifeline: stand at the gate until the parent opens it, end when the parent is gone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

VARIABLE = "LONGTAKE_LIFELINE"


def take() -> int:
    """Our end of the socket pair, taken out of what our own children inherit."""
    lifeline = int(os.environ.pop(VARIABLE))
    os.set_inheritable(lifeline, False)
    return lifeline


def wait_at_gate(lifeline: int) -> bool:
    """Say that all is imported, then wait. False when the parent is gone."""
    try:
        os.write(lifeline, b"i")
        return bool(os.read(lifeline, 1))
    except OSError:
        return False


def follow_parent(lifeline: int) -> None:
    """From now on end with the parent, however it went, as if it had asked us to."""
    threading.Thread(target=_end_with_parent, args=(lifeline,), name="lifeline", daemon=True).start()


def _end_with_parent(lifeline: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(lifeline, 64):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
    os.kill(os.getpid(), signal.SIGKILL)


def interrupted_with_parent() -> None:
    """For programs of others, in the child before exec: Linux sends SIGINT when the thread that started it is gone.

    After the change of user, which would clear it. Elsewhere the next start ends what was left over.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)
