"""`/rest/v1`: the part of PostgREST's HTTP that this project and the Supabase clients call."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from urllib.parse import parse_qsl

import psycopg
from psycopg_pool import PoolTimeout
from starlette.requests import Request
from starlette.responses import Response

from deployments.local.answers import NotEmulated
from deployments.local.caller import Caller
from deployments.local.database import Database, Setting
from deployments.local.rest import statements
from deployments.local.rest.catalog import Catalog
from deployments.local.rest.errors import RestError, from_database
from deployments.local.rest.grammar import Query, is_test, parse_query, unquoted
from deployments.local.rest.preferences import Preferences
from deployments.local.rest.statements import Change, Statement

_JSON = "application/json; charset=utf-8"
_OBJECT = "application/vnd.pgrst.object+json"
_OF_ROWS = ("select", "order", "limit", "offset", "and", "or", "not.and", "not.or")
Row = tuple[int | None, int, str, int | None]


class Rest:
    def __init__(self, database: Database, schemas: list[str], extra_search_path: list[str], max_rows: int) -> None:
        self._database = database
        self._extra = extra_search_path
        self._max_rows = max_rows
        self._catalog = Catalog(schemas)
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        listening = asyncio.Event()
        self._following = asyncio.create_task(self._catalog.follow(self._database, listening))
        await listening.wait()

    async def stop(self) -> None:
        if self._following:
            self._following.cancel()

    async def answer(self, request: Request, caller: Caller) -> Response:
        try:
            return await self._answer(request, caller)
        except (psycopg.Error, PoolTimeout) as error:
            raise from_database(error, anonymous=caller.role == "anon") from error

    async def _answer(self, request: Request, caller: Caller) -> Response:
        path = request.path_params["path"].strip("/")
        preferences = Preferences.of(request)
        if not path:
            raise NotEmulated("The OpenAPI description")
        if path.startswith("rpc/"):
            return await self._rpc(request, caller, path.removeprefix("rpc/"), preferences)
        if "/" in path:
            raise RestError(404, "PGRST125", "Invalid path specified in request URL")
        match request.method:
            case "GET" | "HEAD":
                return await self._read(request, caller, path, preferences)
            case "POST":
                return await self._insert(request, caller, path, preferences)
            case "PATCH" | "DELETE":
                return await self._change(request, caller, path, preferences)
        raise NotEmulated(f"{request.method} on a table")

    async def _read(self, request: Request, caller: Caller, name: str, preferences: Preferences) -> Response:
        schema = self._schema(request)
        table = self._catalog.table(schema, name)
        query = self._limited(parse_query(_pairs(request)), request)
        statement = statements.read(schema, name, table, query, count=preferences.count)
        row = await self._run(request, caller, schema, statement, read_only=True)
        return _rows_response(request, row, query, preferences)

    async def _insert(self, request: Request, caller: Caller, name: str, preferences: Preferences) -> Response:
        schema = self._schema(request)
        table = self._catalog.table(schema, name)
        pairs = _pairs(request)
        options = dict(pairs)
        body, columns = _rows_of(await _json(request), options.get("columns"))
        conflict = None
        if preferences.resolution:
            conflict = _names(options["on_conflict"]) if "on_conflict" in options else table.primary_key
        change = Change(schema, name, table, columns, body, conflict, preferences.resolution == "ignore-duplicates")
        if body == "[]":
            return _changed_response(request, (0, 0, "[]", None), preferences, 201)
        statement = statements.insert(change, parse_query(pairs), representation=preferences.representation)
        row = await self._run(request, caller, schema, statement)
        return _changed_response(request, row, preferences, 200 if row[3] == 0 else 201)

    async def _change(self, request: Request, caller: Caller, name: str, preferences: Preferences) -> Response:
        """PATCH and DELETE."""
        schema = self._schema(request)
        table = self._catalog.table(schema, name)
        query = parse_query(_pairs(request))
        if not query.filters:  # hosted projects load `safeupdate` for API sessions
            word = "UPDATE" if request.method == "PATCH" else "DELETE"
            raise RestError(400, "21000", f"{word} requires a WHERE clause")
        shown = preferences.representation
        if request.method == "DELETE":
            statement = statements.delete(schema, name, table, query, representation=shown)
        else:
            body, columns = _rows_of(await _json(request), dict(_pairs(request)).get("columns"))
            if not columns:
                return _changed_response(request, (0, 0, "[]", None), preferences, 200 if shown else 204)
            change = Change(schema, name, table, columns, body)
            statement = statements.update(change, query, representation=shown)
        row = await self._run(request, caller, schema, statement)
        return _changed_response(request, row, preferences, 200 if shown else 204)

    async def _rpc(self, request: Request, caller: Caller, name: str, preferences: Preferences) -> Response:
        schema = self._schema(request)
        pairs = _pairs(request)
        if request.method == "POST":
            text = await _json(request) or "{}"
            arguments: str | list[tuple[str, str]] = text
            given = _loaded(text)
            if not isinstance(given, dict):
                raise NotEmulated("A function with one unnamed argument")
            names = set(given)
        elif request.method in ("GET", "HEAD"):
            arguments = [pair for pair in pairs if pair[0] not in _OF_ROWS and not is_test(pair[1])]
            pairs = [pair for pair in pairs if pair not in arguments]
            names = {name for name, _ in arguments}
        else:
            raise RestError(405, "PGRST101", f"Cannot use the {request.method} method on RPC")
        function = self._catalog.function(schema, name, names)
        query = parse_query(pairs)
        if function.has_columns and function.is_set:
            query = self._limited(query, request)
        statement = statements.call(schema, function, arguments, names, query)
        # As in PostgREST, what does not say that it writes may not.
        read_only = request.method != "POST" or not function.writes
        row = await self._run(request, caller, schema, statement, read_only=read_only)
        if function.returns == "void":
            return Response(status_code=204)
        if function.has_columns and function.is_set:
            return _rows_response(request, row, query, preferences)
        return Response(row[2], 200, media_type=_JSON)

    def _schema(self, request: Request) -> str:
        kind = "accept-profile" if request.method in ("GET", "HEAD") else "content-profile"
        wanted = request.headers.get(kind, self._catalog.schemas[0])
        if wanted not in self._catalog.schemas:
            hint = f"Only the following schemas are exposed: {', '.join(self._catalog.schemas)}"
            raise RestError(406, "PGRST106", f"Invalid schema: {wanted}", None, hint)
        return wanted

    def _limited(self, query: Query, request: Request) -> Query:
        """The Range header and the project's max_rows, on top of limit and offset."""
        if found := re.fullmatch(r"(\d{1,18})-(\d{0,18})", request.headers.get("range", "")):
            first = int(found[1])
            query.offset += first
            if found[2]:
                if int(found[2]) < first:
                    raise RestError(416, "PGRST103", "Requested range not satisfiable")
                size = int(found[2]) - first + 1
                query.limit = size if query.limit is None else min(size, query.limit)
        query.limit = self._max_rows if query.limit is None else min(query.limit, self._max_rows)
        return query

    async def _run(
        self, request: Request, caller: Caller, schema: str, statement: Statement, *, read_only: bool = False
    ) -> Row:
        """What only COMMIT finds out counts as the statement's refusal, and so does a wrong number of rows."""
        settings = [*self._catalog.limits.get(caller.role, []), *self._request_settings(request, schema)]
        async with self._database.acting(caller, settings, read_only=read_only) as connection:
            cursor = psycopg.AsyncRawCursor(connection)
            found: Any = await (await cursor.execute(statement.sql.encode(), statement.values)).fetchone()
            row: Row = found
            if _wants_object(request) and row[1] != 1:
                message = "Cannot coerce the result to a single JSON object"
                raise RestError(406, "PGRST116", message, f"The result contains {row[1]} rows")
        return row

    def _request_settings(self, request: Request, schema: str) -> list[Setting]:
        path = ", ".join(json.dumps(name) for name in dict.fromkeys([schema, *self._extra]))
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in request.headers.raw}
        return [
            ("search_path", path),
            ("request.method", request.method),
            ("request.path", request.url.path.removeprefix("/rest/v1")),
            ("request.headers", json.dumps(headers)),
            ("request.cookies", json.dumps(request.cookies)),
        ]


def _rows_response(request: Request, row: Row, query: Query, preferences: Preferences) -> Response:
    total, rows, body, _ = row
    if not preferences.count:
        total = None
    if total is not None and query.offset and query.offset >= total:
        details = f"An offset of {query.offset} was requested, but there are only {total} rows."
        headers = {"content-range": f"*/{total}"}
        raise RestError(416, "PGRST103", "Requested range not satisfiable", details, headers=headers)
    status = 206 if total is not None and rows < total else 200
    span = f"{query.offset}-{query.offset + rows - 1}" if rows else "*"
    headers = {"content-range": f"{span}/{'*' if total is None else total}", **preferences.applied}
    return _json_response(request, body, status, headers)


def _changed_response(request: Request, row: Row, preferences: Preferences, status: int) -> Response:
    _, rows, body, _ = row
    span = f"0-{rows - 1}" if rows and request.method == "PATCH" else "*"
    headers = {"content-range": f"{span}/{rows if preferences.count else '*'}", **preferences.applied}
    if not preferences.representation:
        return Response(status_code=status, headers=headers)
    return _json_response(request, body, status, headers)


def _json_response(request: Request, rows: str, status: int, headers: dict[str, str]) -> Response:
    media_type = _JSON
    if _wants_object(request):
        rows, media_type = rows.strip()[1:-1], f"{_OBJECT}; charset=utf-8"
    return Response(rows, status, headers, media_type)


def _wants_object(request: Request) -> bool:
    accepted = request.headers.get("accept", "*/*").split(",")[0].strip()
    if accepted.startswith(_OBJECT) and "nulls=stripped" not in accepted:
        return True
    if accepted.split(";")[0] in ("application/json", "*/*", "application/*", ""):
        return False
    raise NotEmulated(f"Answering in {accepted}")


def _pairs(request: Request) -> list[tuple[str, str]]:
    pairs = parse_qsl(request.url.query, keep_blank_values=True)
    return [(name, value) for name, value in pairs if name != "apikey"]


async def _json(request: Request) -> str:
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip()
    if kind != "application/json":
        raise NotEmulated(f"A body of {kind}")
    try:
        return (await request.body()).decode().strip()
    except UnicodeDecodeError:
        raise RestError(400, "PGRST102", "Empty or invalid json") from None


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RestError(400, "PGRST102", "Empty or invalid json") from None


def _rows_of(text: str, columns: str | None) -> tuple[str, list[str]]:
    """The JSON text of a list of objects, and the columns that they set."""
    loaded = _loaded(text or "[]")
    rows = loaded if isinstance(loaded, list) else [loaded]
    if not all(isinstance(row, dict) for row in rows):
        raise RestError(400, "PGRST102", "Empty or invalid json")
    if columns is None and any(row.keys() != rows[0].keys() for row in rows):
        raise RestError(400, "PGRST102", "All object keys must match")
    names = _names(columns) if columns else list(rows[0]) if rows else []
    if not rows:
        return "[]", names
    return text if isinstance(loaded, list) else f"[{text}]", names


def _names(text: str) -> list[str]:
    return [unquoted(name) for name in text.split(",") if name.strip()]
