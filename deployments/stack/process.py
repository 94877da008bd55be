"""One process of ours: started with a log and a lifeline, asked to end, made to end."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deployments.stack.errors import ProcessDied
from deployments.stack.unprivileged import Ids

_KEEP_LOG_BYTES = 5_000_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to start a process: `argv[0]` is an absolute path, `env` is all it gets."""

    name: str
    argv: list[str]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    log: Path
    ids: Ids | None = None
    before_exec: Callable[[], None] | None = None


class Child:
    """A running recipe, with a lifeline: a socket pair to our launcher in it.

    One byte from there says that it has imported all it needs, one byte from here opens its gate, and the end of the
    socket tells it that we are gone.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.started_at = time.monotonic()
        rotate(recipe.log)
        self._lifeline, theirs = socket.socketpair()
        with recipe.log.open("ab") as log:
            self.process = subprocess.Popen(
                recipe.argv,
                env={**recipe.env, "LONGTAKE_LIFELINE": str(theirs.fileno())},
                cwd=recipe.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # a Ctrl-C in the terminal reaches us alone: we decide the order
                preexec_fn=recipe.before_exec,
                user=recipe.ids.uid if recipe.ids else None,
                group=recipe.ids.gid if recipe.ids else None,
                extra_groups=[] if recipe.ids else None,
            )
        theirs.close()

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def pid(self) -> int:
        pid: int = self.process.pid
        return pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def open_gate(self) -> None:
        with contextlib.suppress(OSError):  # it died while waiting; the supervisor sees that
            self._lifeline.send(b"g")

    def wait_imported(self, patience: float = 30.0) -> None:
        """Block until it stands at its gate, or is dead, or `patience` seconds have passed."""
        self._lifeline.settimeout(patience)
        with contextlib.suppress(OSError):
            self._lifeline.recv(1)

    def send(self, number: int) -> None:
        if self.alive:
            self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM, patience: float = 5.0) -> None:
        """Ask, wait, then kill. Returns when the process is gone."""
        self.send(number)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.close()

    def close(self) -> None:
        self._lifeline.close()

    def died(self) -> ProcessDied:
        code = self.process.returncode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return ProcessDied(f"{self.name} {how}.\n{tail(self.recipe.log)}\n", f"Its log: {self.recipe.log}")


def tail(log: Path, lines: int = 12) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def rotate(log: Path) -> None:
    """Keep one former log, so that a laptop left running does not fill its disk."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > _KEEP_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
