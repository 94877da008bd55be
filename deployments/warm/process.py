"""A child as the worker sees it: a process group, a socket to it, and a lifeline that only our end closes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Self

from deployments.warm.messages import (
    LONGEST_LINE,
    Cancel,
    Ended,
    Exit,
    Prepare,
    Problem,
    Ready,
    Run,
    decode_for_parent,
    encode,
)


class ChildProcess:
    def __init__(
        self,
        process: asyncio.subprocess.Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        lifeline: int,
    ) -> None:
        self._process = process
        self._reader, self._writer = streams
        self._lifeline = lifeline

    @classmethod
    async def start(cls, prepare: Prepare, env: Mapping[str, str]) -> Self:
        """Raises `OSError` when no process can be started."""
        ours, theirs = socket.socketpair()
        read_end, lifeline = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "deployments.warm.child", str(theirs.fileno()), str(read_end)),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), read_end),
                env=env,
                start_new_session=True,  # a group of its own, and no Ctrl-C from the worker's terminal
            )
        except OSError:
            ours.close()
            os.close(lifeline)
            raise
        finally:
            theirs.close()
            os.close(read_end)
        child = cls(process, await asyncio.open_connection(sock=ours, limit=LONGEST_LINE), lifeline)
        await child.send(prepare)
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    async def send(self, message: Prepare | Run | Cancel | Exit) -> None:
        with contextlib.suppress(ConnectionError):  # it is gone, which `wait` tells
            self._writer.write(encode(message))
            await self._writer.drain()

    async def messages(self) -> AsyncIterator[Ready | Ended | Problem]:
        """Until its end. Raises `BadMessage`."""
        with contextlib.suppress(ConnectionError):
            while line := await self._reader.readline():
                yield decode_for_parent(line)

    async def wait(self) -> int:
        """Its exit code, as `subprocess` gives it. Ends what it has left in its group."""
        try:
            return await self._process.wait()
        finally:
            self.kill_group()

    def terminate(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        self._writer.close()
        os.close(self._lifeline)
