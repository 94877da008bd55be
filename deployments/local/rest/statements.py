"""SQL for one request. JSON is made and taken apart by PostgreSQL, so that no number passes through Python."""

# ruff: noqa: S608 - text is joined from fixed words, quoted names and numbers of parameters
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from deployments.local.answers import NotEmulated
from deployments.local.database import identifier, literal
from deployments.local.rest.catalog import Function, Table, Types
from deployments.local.rest.errors import RestError
from deployments.local.rest.grammar import OPERATORS, Column, Filter, Group, Query

#: Each statement answers with one row: total or null, rows, JSON text, rows inserted or null.
_IS = {"null": "null", "not_null": "not null", "true": "true", "false": "false", "unknown": "unknown"}
_INSERTED = "nullif(current_setting('pgrst.inserted', true), '')::int"


@dataclass(slots=True)
class Statement:
    """SQL with its parameters. What a client sent is a parameter or a quoted name."""

    values: list[str] = field(default_factory=list)
    sql: str = ""

    def parameter(self, value: str) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


@dataclass(frozen=True, slots=True)
class Change:
    """The body of an insert or an update: its JSON text and the columns that it names."""

    schema: str
    name: str
    table: Table
    columns: list[str]
    body: str
    conflict: list[str] | None = None
    ignore_duplicates: bool = False

    @property
    def target(self) -> str:
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @property
    def names(self) -> str:
        return ", ".join(identifier(column) for column in self.columns)


def read(schema: str, name: str, table: Table, query: Query, *, count: bool) -> Statement:
    statement = Statement()
    source = f"{identifier(schema)}.{identifier(name)} as {identifier(name)}"
    rows, counted = _rows(statement, source, identifier(name), table.types, query)
    statement.sql = _answer("", rows, counted if count else None)
    return statement


def insert(change: Change, query: Query, *, representation: bool) -> Statement:
    statement = Statement()
    if change.columns:
        columns = ", ".join(f"body.{identifier(column)}" for column in change.columns)
        sql = f"insert into {change.target} ({change.names}) select {columns} from {_body(statement, change)}"
    else:
        sql = f"insert into {change.target} default values"
    if change.conflict and change.ignore_duplicates:
        sql += f" on conflict ({_list(change.conflict)}) do nothing"
    elif change.conflict and change.columns:
        # Counts what was inserted and not updated, in a setting of the transaction: reading a system column of the
        # row would ask for rights that the caller need not have.
        assigned = ", ".join(f"{identifier(name)} = excluded.{identifier(name)}" for name in change.columns)
        sql += (
            f" where set_config('pgrst.inserted', (coalesce({_INSERTED}, 0) + 1)::text, true) is not null"
            f" on conflict ({_list(change.conflict)}) do update set {assigned}"
            f" where set_config('pgrst.inserted', ({_INSERTED} - 1)::text, true) is not null"
        )
    return _changed(statement, sql, change.target, change.name, change.table, query, representation)


def update(change: Change, query: Query, *, representation: bool) -> Statement:
    statement = Statement()
    assigned = ", ".join(f"{identifier(name)} = body.{identifier(name)}" for name in change.columns)
    sql = f"update {change.target} set {assigned} from {_body(statement, change)}"
    sql += _where(statement, change.target, change.table.types, query)
    return _changed(statement, sql, change.target, change.name, change.table, query, representation)


def delete(schema: str, name: str, table: Table, query: Query, *, representation: bool) -> Statement:
    statement = Statement()
    target = f"{identifier(schema)}.{identifier(name)}"
    sql = f"delete from {target}{_where(statement, target, table.types, query)}"
    return _changed(statement, sql, target, name, table, query, representation)


def call(
    schema: str, function: Function, arguments: str | Sequence[tuple[str, str]], names: set[str], query: Query
) -> Statement:
    """`arguments` is the JSON text of an object, or pairs of a query string."""
    if function.variadic:
        raise NotEmulated("Calling variadic functions")
    statement = Statement()
    types = {name: kind for name, kind in function.arguments if name in names}
    source = ""
    if isinstance(arguments, str):
        given = {name: f"arguments.{identifier(name)}" for name in types}
        if types:
            source = f"json_to_record({statement.parameter(arguments)}::json) as arguments({_typed(types)}), lateral "
    else:
        given = {name: f"{statement.parameter(value)}::{types[name]}" for name, value in arguments if name in types}
    passed = ", ".join(f"{identifier(name)} := {value}" for name, value in given.items())
    called = f"{identifier(schema)}.{identifier(function.name)}({passed})"
    if function.has_columns:
        before = f"with called as (select result.* from {source}{called} as result)"
        alias = identifier(function.name)
        rows, counted = _rows(statement, f"called as {alias}", alias, function.types, query)
        statement.sql = _answer(before, rows, counted, single=not function.is_set)
    else:
        _refuse_row_options(query)
        value = "json_agg(result.value), '[]'" if function.is_set else "to_json(result.value), 'null'"
        source = f"{source}(select {called} as value) as result"
        statement.sql = f"select null::bigint, 1::bigint, coalesce({value})::text, null::int from {source}"
    return statement


def _rows(statement: Statement, source: str, alias: str, types: Types, query: Query) -> tuple[str, str]:
    """A select, and the same without columns and range for counting."""
    where = _where(statement, alias, types, query)
    order = ", ".join(f"{_column(alias, types, one.column)} {one.direction}" for one in query.order)
    limits = f" limit {query.limit}" if query.limit is not None else ""
    limits += f" offset {query.offset}" if query.offset else ""
    rows = (
        f"select {_selection(alias, types, query)} from {source}{where}{f' order by {order}' if order else ''}{limits}"
    )
    return rows, f"select 1 from {source}{where}"


def _answer(before: str, rows: str, counted: str | None, *, single: bool = False) -> str:
    total = f"(select count(*) from ({counted}) as every)" if counted else "null::bigint"
    body = "coalesce(json_agg(answer) -> 0, 'null')" if single else "coalesce(json_agg(answer), '[]')"
    return f"{before} select {total}, count(*), {body}::text, {_INSERTED} from ({rows}) as answer"


def _changed(
    statement: Statement, sql: str, target: str, name: str, table: Table, query: Query, representation: bool
) -> Statement:
    """Only the columns that are shown are read: a caller needs rights to no others."""
    if query.limit is not None or query.offset:
        raise NotEmulated("A limited update or delete")
    if representation:
        shown = [one.column.name for one in query.selected] + [one.column.name for one in query.order]
        all_of_them = not query.selected or "*" in shown
        returned = (
            f"{target}.*" if all_of_them else ", ".join(f"{target}.{identifier(one)}" for one in dict.fromkeys(shown))
        )
        alias = identifier(name)
        shape = Query(selected=query.selected, order=query.order)
        rows, _ = _rows(statement, f"changed as {alias}", alias, table.types, shape)
    else:
        returned, rows = "1 as one", "select one from changed"
    statement.sql = _answer(f"with changed as ({sql} returning {returned})", rows, None)
    return statement


def _body(statement: Statement, change: Change) -> str:
    types = {}
    for column in change.columns:
        if column not in change.table.types:
            message = f"Could not find the '{column}' column of '{change.name}' in the schema cache"
            raise RestError(400, "PGRST204", message)
        types[column] = change.table.types[column]
    return f"json_to_recordset({statement.parameter(change.body)}::json) as body({_typed(types)})"


def _typed(types: Types) -> str:
    return ", ".join(f"{identifier(name)} {kind}" for name, kind in types.items())


def _list(names: Sequence[str]) -> str:
    return ", ".join(identifier(name) for name in names)


def _selection(alias: str, types: Types, query: Query) -> str:
    if not query.selected:
        return f"{alias}.*"
    parts = []
    for one in query.selected:
        column = _column(alias, types, one.column)
        label = one.alias or (
            next((key for _, key in reversed(one.column.path) if not _is_index(key)), one.column.name)
        )
        value = f"cast({column} as {one.cast})" if one.cast else column
        plain = one.column.name == "*" or not (one.alias or one.cast or one.column.path)
        parts.append(value if plain else f"{value} as {identifier(label)}")
    return ", ".join(parts)


def _column(alias: str, types: Types, column: Column) -> str:
    if column.name == "*":
        return f"{alias}.*"
    reached = f"{alias}.{identifier(column.name)}"
    if column.path and types.get(column.name) not in ("json", "jsonb"):
        reached = f"to_jsonb({reached})"
    return reached + "".join(f" {arrow} {key if _is_index(key) else literal(key)}" for arrow, key in column.path)


def _is_index(key: str) -> bool:
    return key.removeprefix("-").isdigit()


def _where(statement: Statement, alias: str, types: Types, query: Query) -> str:
    conditions = [_condition(statement, alias, types, one) for one in query.filters]
    return f" where {' and '.join(conditions)}" if conditions else ""


def _condition(statement: Statement, alias: str, types: Types, one: Filter | Group) -> str:
    negation = "not " if one.negated else ""
    if isinstance(one, Group):
        members = f" {one.word} ".join(_condition(statement, alias, types, member) for member in one.members)
        return f"{negation}({members})"
    column = _column(alias, types, one.column)
    if isinstance(one.value, list):
        quoted = ",".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in one.value)
        return f"{negation}{column} = any ({statement.parameter('{' + quoted + '}')})"
    if one.operator == "is":
        if one.value.lower() not in _IS:
            raise RestError(400, "PGRST100", f'"failed to parse filter (is.{one.value})" (line 1, column 4)')
        return f"{negation}{column} is {_IS[one.value.lower()]}"
    value = one.value.replace("*", "%") if one.operator in ("like", "ilike") else one.value
    return f"{negation}{column} {OPERATORS[one.operator]} {statement.parameter(value)}"


def _refuse_row_options(query: Query) -> None:
    if query.selected or query.filters or query.order or query.limit is not None or query.offset:
        raise NotEmulated("Selecting from a function that returns no rows with columns")
