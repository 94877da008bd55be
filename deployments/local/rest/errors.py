"""Refusals in PostgREST's form, and what it makes of the database's."""

from __future__ import annotations

import json
from collections.abc import Mapping

import psycopg
from psycopg_pool import PoolTimeout

from deployments.local.answers import InvalidToken, NotEmulated, Refused

#: SQLSTATE, or its first two characters, to HTTP status; 400 otherwise. The table of PostgREST's documentation.
_STATUS = {
    **{"23503": 409, "23505": 409, "25006": 405, "42883": 404, "42P01": 404, "42P17": 500, "53400": 500},
    **{"57P01": 503, "P0001": 400},
    **{"08": 503, "09": 500, "0L": 403, "0P": 403, "25": 500, "28": 403, "2D": 500, "38": 500, "39": 500, "3B": 500},
    **{"40": 500, "53": 503, "54": 500, "55": 500, "57": 500, "58": 500, "F0": 500, "HV": 500, "P0": 500, "XX": 500},
}


class RestError(Refused):
    """One answer of PostgREST that is an error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: str | None = None,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        body = {"code": code, "message": message, "details": details, "hint": hint}
        super().__init__(status, body, {"proxy-status": f"PostgREST; error={code}", **(headers or {})})


def invalid_token(error: InvalidToken) -> RestError:
    challenge = f'Bearer error="invalid_token", error_description={json.dumps(error.message)}'
    code = "PGRST303" if error.expired else "PGRST301"
    return RestError(401, code, error.message, headers={"www-authenticate": challenge})


def bad_query(what: str, text: str) -> RestError:
    return RestError(400, "PGRST100", f'"failed to parse {what} ({text})" (line 1, column 1)', "unexpected input")


def from_database(error: Exception, *, anonymous: bool) -> RestError:
    if isinstance(error, PoolTimeout):
        return RestError(504, "PGRST003", "Timed out acquiring connection from connection pool.")
    assert isinstance(error, psycopg.Error)
    found = error.diag
    if found.sqlstate is None:
        if isinstance(error, psycopg.DataError):  # refused before it was sent
            return RestError(400, "22P05", "unsupported Unicode escape sequence", str(error))
        return RestError(503, "PGRST000", "Database client error.", str(error))
    message = found.message_primary or ""
    if found.sqlstate == "PGRST":
        raise NotEmulated("An answer made of SQLSTATE PGRST")
    status = _status(found.sqlstate, message, anonymous)
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return RestError(status, found.sqlstate, message, found.message_detail, found.message_hint, headers)


def _status(state: str, message: str, anonymous: bool) -> int:
    if state == "42501":
        return 401 if anonymous else 403
    if state == "21000":
        return 400 if message.endswith("requires a WHERE clause") else 500
    if state == "22023" and message.startswith("role") and message.endswith("does not exist"):
        return 401
    if state.startswith("PT") and state[2:].isdigit():
        return int(state[2:])
    return _STATUS.get(state) or _STATUS.get(state[:2], 400)
