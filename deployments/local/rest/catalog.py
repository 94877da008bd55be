"""What the exposed schemas hold, read from the database and read again when a migration changed it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import psycopg

from deployments.local.database import Connection, Database, Setting
from deployments.local.rest.errors import RestError

_TABLES = """
select n.nspname, c.relname,
    (select coalesce(json_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)), '{}') from pg_attribute a
     where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
    array(select a.attname::text from pg_index i join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey)
          where i.indrelid = c.oid and i.indisprimary)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'v', 'm', 'f', 'p') and n.nspname = any(%s)
"""
_FUNCTIONS = """
select n.nspname, p.proname, coalesce(p.proargnames, '{}'), coalesce(p.proargmodes::text[], '{}'),
    array(select format_type(argument.oid, null)
          from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) with ordinality argument(oid, place)
          order by place),
    p.pronargs - p.pronargdefaults, p.proretset, format_type(p.prorettype, null),
    t.typtype = 'c' or p.prorettype = 'record'::regtype or coalesce(p.proargmodes::text[] && '{t,b,o}', false),
    p.provolatile = 'v', p.provariadic <> 0,
    (select json_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)) from pg_attribute a
     where t.typrelid <> 0 and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped)
from pg_proc p join pg_namespace n on n.oid = p.pronamespace join pg_type t on t.oid = p.prorettype
where p.prokind = 'f' and n.nspname = any(%s) and t.typname not in ('trigger', 'event_trigger')
"""
_ROLE_SETTINGS = """
select r.rolname, unnest(s.setconfig) from pg_db_role_setting s join pg_roles r on r.oid = s.setrole
where s.setdatabase = 0 and pg_has_role(current_user, r.oid, 'member')
"""
#: What PostgREST carries over from the role that it impersonates.
_CARRIED = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")

Types = dict[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    types: Types
    primary_key: list[str]


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    arguments: list[tuple[str, str]]
    required: int
    is_set: bool
    returns: str
    has_columns: bool
    writes: bool
    variadic: bool
    types: Types

    def takes(self, names: set[str]) -> bool:
        known = [name for name, _ in self.arguments]
        return set(known[: self.required]) <= names <= set(known) and "" not in known


@dataclass(slots=True)
class Catalog:
    schemas: Sequence[str]
    tables: dict[tuple[str, str], Table] = field(default_factory=dict)
    functions: dict[tuple[str, str], list[Function]] = field(default_factory=dict)
    limits: dict[str, list[Setting]] = field(default_factory=dict)

    async def load(self, connection: Connection) -> None:
        schemas = [list(self.schemas)]
        rows = await (await connection.execute(_TABLES, schemas)).fetchall()
        self.tables = {(schema, name): Table(types, key) for schema, name, types, key in rows}
        rows = await (await connection.execute(_FUNCTIONS, schemas)).fetchall()
        functions: dict[tuple[str, str], list[Function]] = {}
        for schema, name, *rest in rows:
            functions.setdefault((schema, name), []).append(_function(name, *rest))
        self.functions = functions
        rows = await (await connection.execute(_ROLE_SETTINGS)).fetchall()
        limits: dict[str, list[Setting]] = {}
        for role, setting in rows:
            name, _, value = setting.partition("=")
            if name in _CARRIED:
                limits.setdefault(role, []).append((name, value))
        self.limits = limits

    def table(self, schema: str, name: str) -> Table:
        """Raises `RestError`."""
        if found := self.tables.get((schema, name)):
            return found
        near = get_close_matches(name, [table for within, table in self.tables if within == schema], 1)
        hint = f"Perhaps you meant the table '{schema}.{near[0]}'" if near else None
        message = f"Could not find the table '{schema}.{name}' in the schema cache"
        raise RestError(404, "PGRST205", message, None, hint)

    def function(self, schema: str, name: str, given: set[str]) -> Function:
        """The one that takes these arguments. Raises `RestError`."""
        named = self.functions.get((schema, name), [])
        found = [function for function in named if function.takes(given)]
        if len(found) == 1:
            return found[0]
        if found:
            shown = ", ".join(f"{schema}.{name}({_shown(function)})" for function in found)
            message = f"Could not choose the best candidate function between: {shown}"
            hint = "Try renaming the parameters or the function itself in the database so function overloading can be "
            raise RestError(300, "PGRST203", message, None, hint + "resolved")
        arguments = f"({', '.join(sorted(given))})" if given else " without parameters"
        message = f"Could not find the function {schema}.{name}{arguments} in the schema cache"
        near = get_close_matches(name, [other for within, other in self.functions if within == schema], 1)
        hints = [f"{schema}.{near[0]}({_shown(one)})" for one in self.functions[schema, near[0]]] if near else []
        details = (
            f"Searched for the function {schema}.{name}{arguments}, but no matches were found in the schema cache."
        )
        raise RestError(
            404, "PGRST202", message, details, f"Perhaps you meant to call the function {hints[0]}" if hints else None
        )

    async def follow(self, database: Database, listening: asyncio.Event) -> None:
        """Load again at each announcement of a change; for ever."""
        while True:
            with contextlib.suppress(psycopg.Error):
                async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
                    await connection.execute("listen pgrst")
                    await self.load(connection)
                    listening.set()
                    async for _ in connection.notifies():
                        async with database.pool.connection() as reading:
                            await self.load(reading)
            await asyncio.sleep(0.2)  # the connection is gone: a new one, and what was missed


def _function(
    name: str,
    names: list[str],
    modes: list[str],
    types: list[str],
    required: int,
    is_set: bool,
    returns: str,
    has_columns: bool,
    writes: bool,
    variadic: bool,
    row_types: Types | None,
) -> Function:
    modes = modes or ["i"] * len(types)
    names = names or [""] * len(types)
    all_arguments = list(zip(names, types, modes, strict=True))
    arguments = [(argument, kind) for argument, kind, mode in all_arguments if mode in "ibv"]
    columns = row_types or {argument: kind for argument, kind, mode in all_arguments if mode in "tbo"}
    return Function(name, arguments, required, is_set, returns, has_columns, writes, variadic, columns)


def _shown(function: Function) -> str:
    return ", ".join(f"{name} => {kind}" for name, kind in function.arguments)
