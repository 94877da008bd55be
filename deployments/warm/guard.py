"""A shell of one megabyte beside each child that kills the child's process group when the worker is long gone.

The child's own thread does that first (`inbox.py`). But native code that holds the interpreter lock stops every thread
of Python, and Linux's parent-death signal would end a run at once, and with the thread that started it. So a process
reads the worker's lifeline, which only the worker's end closes, and waits as long as the child may still need.
"""

from __future__ import annotations

import subprocess

#: How much later than the child itself should have done it.
_SLACK_SECONDS = 3
#: $PPID is the child: where it has ended by itself, what it started is ended at once.
_SCRIPT = (
    'read -r _; n=$1; while [ "$n" -gt 0 ] && kill -0 "$PPID" 2>/dev/null; do sleep 1; n=$((n-1)); done; kill -KILL 0'
)


def start(lifeline: int, seconds: float) -> None:
    """Called once, early, in a process that leads its own process group."""
    argv = ["/bin/sh", "-c", _SCRIPT, "guard", str(int(seconds) + _SLACK_SECONDS)]
    process = subprocess.Popen(argv, stdin=lifeline, stdout=subprocess.DEVNULL)
    process.returncode = 0  # nobody waits for it: it ends with the group
