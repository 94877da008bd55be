"""Transactions as the caller: role, claims and time limits are set for the transaction and end with it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from deployments.local.caller import Caller

Setting = tuple[str, str]
Connection = psycopg.AsyncConnection[Any]


class Database:
    """A pool of one login role, which may change into the callers' roles."""

    def __init__(self, url: str, size: int, *, waiting: float = 10.0) -> None:
        self.url = url
        self.pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=size,
            open=False,
            timeout=waiting,
            # Prepared statements would outlive the plans that a migration changes.
            kwargs={"autocommit": True, "prepare_threshold": None},
        )

    async def open(self) -> None:
        await self.pool.open(wait=True, timeout=20)

    async def close(self) -> None:
        await self.pool.close()

    @contextlib.asynccontextmanager
    async def acting(
        self, caller: Caller, settings: Iterable[Setting] = (), *, read_only: bool = False, keep: bool = True
    ) -> AsyncIterator[Connection]:
        """One transaction, committed at the end unless `keep` is false. What COMMIT refuses is raised here as well.

        The role comes last: what it may not set has been set before.
        """
        prelude = _prelude(
            [*settings, ("request.jwt.claims", json.dumps(caller.claims)), ("role", caller.role)], read_only
        )
        async with self.pool.connection() as connection:
            try:
                await connection.execute(prelude)
                yield connection
                await connection.execute("commit" if keep else "rollback")
            except BaseException:
                with contextlib.suppress(psycopg.Error):  # it may be gone; the pool replaces it
                    await connection.execute("rollback")
                raise


def _prelude(settings: Iterable[Setting], read_only: bool) -> str:
    """One message: as many round trips as a bare BEGIN."""
    calls = ", ".join(f"set_config({literal(name)}, {literal(value)}, true)" for name, value in settings)
    return f"begin read {'only' if read_only else 'write'}; select {calls}"


def literal(text: str) -> str:
    """Raises `psycopg.DataError` for what PostgreSQL cannot hold."""
    if "\0" in text:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    if "\0" in name:
        raise psycopg.DataError("PostgreSQL names cannot contain NUL (0x00) bytes")
    return '"' + name.replace('"', '""') + '"'
