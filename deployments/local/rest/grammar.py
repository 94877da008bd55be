"""PostgREST's language of query strings, as far as it is spoken here: select, filters, logic, order, range."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from deployments.local.answers import NotEmulated
from deployments.local.rest.errors import RestError, bad_query

OPERATORS = {
    **{"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike"},
    **{"cs": "@>", "cd": "<@", "is": "is", "in": "in"},
}
_ABSENT = "match|imatch|fts|plfts|phfts|wfts|ov|sl|sr|nxr|nxl|adj|isdistinct"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_NAME = rf"(?:{_QUOTED}|[\w$]+(?:[ $\w]|-(?!>))*)"
_PATH = rf"(?:->>?(?:-?\d+|{_NAME}))*"
_COLUMN = re.compile(rf"\s*(?P<name>{_NAME})(?P<path>{_PATH})")
_SELECTED = re.compile(
    rf"\s*(?:(?P<alias>{_NAME}):(?!:))?(?P<name>\*|{_NAME})(?P<path>{_PATH})(?:::(?P<cast>[\w ]+(?:\[\])?))?\s*"
)
_TEST = re.compile(rf"(?P<not>not\.)?(?P<op>{'|'.join(OPERATORS)}|{_ABSENT})(?P<many>\((?:any|all)\))?\.")
_ORDER = re.compile(r"(?:\.(asc|desc))?(?:\.(nullsfirst|nullslast))?")


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    path: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Selected:
    column: Column
    alias: str | None = None
    cast: str | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    column: Column
    operator: str
    value: str | list[str]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """`and` or `or` of what is in it."""

    word: str
    members: list[Filter | Group]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    column: Column
    direction: str = ""


@dataclass(slots=True)
class Query:
    selected: list[Selected] = field(default_factory=list)
    filters: list[Filter | Group] = field(default_factory=list)
    order: list[Order] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0


def parse_query(pairs: Sequence[tuple[str, str]]) -> Query:
    """Raises `RestError` or `NotEmulated`."""
    query = Query()
    for key, value in pairs:
        match key:
            case "select":
                query.selected = parse_select(value)
            case "order":
                query.order = [_order(part) for part in _split(value) if part]
            case "limit" | "offset":
                setattr(query, key, _count(key, value))
            case "columns" | "on_conflict":
                continue  # of inserts, which read them by themselves
            case "and" | "or" | "not.and" | "not.or":
                group, end = _group(value, 0, key.removeprefix("not."), key.startswith("not."))
                if end != len(value):
                    raise bad_query("logic tree", value)
                query.filters.append(group)
            case _:
                query.filters.append(_filter(key, value))
    return query


def parse_select(text: str) -> list[Selected]:
    return [_selected(part) for part in _split(text) if part.strip()]


def unquoted(name: str) -> str:
    name = name.strip()
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith('"') else name


def is_test(value: str) -> bool:
    """Whether it reads as a filter: so is a function's argument told from a filter of its rows."""
    return bool(_TEST.match(value))


def _selected(text: str) -> Selected:
    found = _SELECTED.fullmatch(text)
    if not found:
        if re.search(r"\(|^\s*\.\.\.|\.(?:sum|avg|min|max|count)", text):
            raise NotEmulated(f"Embedding or aggregating in select ({text})")
        raise bad_query("select parameter", text)
    alias = unquoted(found["alias"]) if found["alias"] else None
    return Selected(_column(found), alias, found["cast"])


def _column(found: re.Match[str]) -> Column:
    steps = re.findall(rf"(->>?)(-?\d+(?![\w$])|{_NAME})", found["path"])
    return Column(unquoted(found["name"]), tuple((arrow, unquoted(key)) for arrow, key in steps))


def _filter(key: str, value: str) -> Filter:
    column, test = _COLUMN.fullmatch(key), _TEST.match(value)
    if not column:
        if "." in key:
            raise NotEmulated(f"Filtering embedded resources ({key})")
        raise bad_query("filter", f"{key}={value}")
    if not test:
        raise bad_query("filter", value)
    return _tested(_column(column), test, value[test.end() :])


def _tested(column: Column, test: re.Match[str], said: str) -> Filter:
    operator = test["op"]
    if operator not in OPERATORS or test["many"]:
        raise NotEmulated(f"The filter {test[0].rstrip('.')}")
    value = _members(said) if operator == "in" else said
    return Filter(column, operator, value, bool(test["not"]))


def _members(text: str) -> list[str]:
    """The values of `in.(a,"b,c")`."""
    if not (text.startswith("(") and text.endswith(")")):
        raise bad_query("filter", text)
    return [unquoted(part) if part.startswith('"') else part for part in _split(text[1:-1])] if text != "()" else []


def _group(text: str, at: int, word: str, negated: bool) -> tuple[Group, int]:
    """`(a.eq.1,or(b.gt.2,c.is.null))`, which begins at `at`. Answers with where it ended."""
    if text[at : at + 1] != "(":
        raise bad_query("logic tree", text)
    members: list[Filter | Group] = []
    while text[at] != ")":
        at += 1
        if nested := re.compile(r"\s*(not\.)?(and|or)(?=\()").match(text, at):
            group, at = _group(text, nested.end(), nested[2], bool(nested[1]))
            members.append(group)
        else:
            leaf, at = _leaf(text, at)
            members.append(leaf)
        if text[at : at + 1] not in (",", ")"):
            raise bad_query("logic tree", text)
    return Group(word, members, negated), at + 1


def _leaf(text: str, at: int) -> tuple[Filter, int]:
    column = _COLUMN.match(text, at)
    test = _TEST.match(text, column.end() + 1) if column and text[column.end() : column.end() + 1] == "." else None
    if not column or not test:
        raise bad_query("logic tree", text)
    value = re.compile(rf"{_QUOTED}|\{{[^}}]*\}}|\((?:{_QUOTED}|[^)\"])*\)|[^,)]*").match(text, test.end())
    assert value is not None  # the last alternative matches nothing as well
    said = unquoted(value[0]) if value[0].startswith('"') else value[0]
    return _tested(_column(column), test, said), value.end()


def _order(text: str) -> Order:
    found = _COLUMN.match(text)
    rest = _ORDER.fullmatch(text[found.end() :]) if found else None
    if not found or not rest:
        if "(" in text:
            raise NotEmulated(f"Ordering by embedded resources ({text})")
        raise bad_query("order", text)
    nulls = {"nullsfirst": " nulls first", "nullslast": " nulls last"}.get(rest[2] or "", "")
    return Order(_column(found), f"{rest[1] or 'asc'}{nulls}")


def _count(key: str, value: str) -> int:
    if not re.fullmatch(r"-?\d{1,18}", value):
        raise bad_query(key, value)
    if int(value) < 0:
        details = "Limit should be greater than or equal to zero."
        raise RestError(416, "PGRST103", "Requested range not satisfiable", details)
    return int(value)


def _split(text: str) -> list[str]:
    """At commas outside quotes and parentheses."""
    parts, depth, begun = [], 0, 0
    for token in re.finditer(rf"{_QUOTED}|[(),]", text):
        match token[0]:
            case "(":
                depth += 1
            case ")":
                depth -= 1
            case "," if depth == 0:
                parts.append(text[begun : token.start()])
                begun = token.end()
    return [*parts, text[begun:]]
