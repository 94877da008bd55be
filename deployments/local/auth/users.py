"""The rows of Auth: users, sessions, refresh tokens."""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from deployments.local.answers import Refused
from deployments.local.auth.passwords import hashed, matches
from deployments.local.database import Database

Row = dict[str, Any]


class AuthRefusal(Refused):
    """In the form of Supabase Auth."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, {"code": status, "error_code": code, "msg": message}, {"x-sb-error-code": code})


@dataclass(frozen=True, slots=True)
class Registration:
    email: str
    password: str | None
    confirmed: bool
    app_metadata: Row
    user_metadata: Row
    id: str | None = None


class Users:
    """Raises `AuthRefusal`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def create(self, wanted: Registration) -> Row:
        secret = await asyncio.to_thread(hashed, wanted.password) if wanted.password else None
        try:
            found = await self._rows(
                """insert into auth.users (id, email, encrypted_password, email_confirmed_at, raw_app_meta_data,
                       raw_user_meta_data)
                   values (%s, %s, %s, case when %s then now() end, %s, %s) returning *""",
                *(wanted.id or str(uuid.uuid4()), wanted.email, secret, wanted.confirmed),
                *(json.dumps(wanted.app_metadata), json.dumps(wanted.user_metadata)),
            )
        except psycopg.errors.UniqueViolation:
            message = "A user with this email address has already been registered"
            raise AuthRefusal(422, "email_exists", message) from None
        except psycopg.DataError as error:
            raise AuthRefusal(400, "validation_failed", str(error)) from None
        return found[0]

    async def by_password(self, email: str, password: str) -> Row:
        found = await self._rows("select * from auth.users where email = %s", email)
        stored = found[0]["encrypted_password"] if found else None
        if not await asyncio.to_thread(matches, password, stored):
            raise AuthRefusal(400, "invalid_credentials", "Invalid login credentials")
        if found[0]["email_confirmed_at"] is None:
            raise AuthRefusal(400, "email_not_confirmed", "Email not confirmed")
        return found[0]

    async def by_id(self, user_id: str) -> Row:
        found = await self._rows("select * from auth.users where id::text = %s", user_id)
        if not found:
            raise AuthRefusal(404, "user_not_found", "User not found")
        return found[0]

    async def page(self, number: int, size: int) -> tuple[list[Row], int]:
        found = await self._rows(
            "select * from auth.users order by created_at desc, id limit %s offset %s", size, (number - 1) * size
        )
        counted = await self._rows("select count(*) as users from auth.users")
        return found, counted[0]["users"]

    async def delete(self, user_id: str) -> None:
        if not await self._rows("delete from auth.users where id::text = %s returning id", user_id):
            raise AuthRefusal(404, "user_not_found", "User not found")

    async def begin_session(self, user_id: str) -> str:
        await self._rows("update auth.users set last_sign_in_at = now() where id = %s returning id", user_id)
        found = await self._rows("insert into auth.sessions (user_id) values (%s) returning id", user_id)
        return str(found[0]["id"])

    async def has_session(self, session: str) -> bool:
        return bool(await self._rows("select id from auth.sessions where id::text = %s", session))

    async def issue_refresh(self, user_id: str, session: str) -> str:
        token = secrets.token_urlsafe(24)
        await self._rows(
            "insert into auth.refresh_tokens (token, user_id, session_id) values (%s, %s, %s) returning id",
            *(token, user_id, session),
        )
        return token

    async def redeem_refresh(self, token: str) -> tuple[Row, str]:
        """The user and the session. A token is good once."""
        found = await self._rows(
            """update auth.refresh_tokens set revoked = true where token = %s and not revoked
               returning user_id, session_id""",
            token,
        )
        if not found:
            message = "Invalid Refresh Token: Refresh Token Not Found"
            raise AuthRefusal(400, "refresh_token_not_found", message)
        return await self.by_id(found[0]["user_id"]), str(found[0]["session_id"])

    async def end_sessions(self, user_id: str, session: str, scope: str) -> None:
        """`local`: this one; `others`: all but this one; `global`: all."""
        which = {"local": "id::text = %s", "others": "id::text <> %s", "global": "%s <> ''"}[scope]
        await self._rows(
            f"delete from auth.sessions where user_id::text = %s and {which} returning id",  # noqa: S608 - one of three
            *(user_id, session),
        )

    async def _rows(self, sql: str, *values: Any) -> list[Row]:
        async with self.database.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(sql, values)
            return await cursor.fetchall()


def shown(user: Row) -> Row:
    """A user as Auth tells of one."""
    moments = {
        name: user[name].isoformat().replace("+00:00", "Z")
        for name in ("email_confirmed_at", "confirmed_at", "last_sign_in_at", "created_at", "updated_at")
        if isinstance(user[name], datetime)
    }
    return {
        **moments,
        "id": str(user["id"]),
        "aud": user["aud"] or "authenticated",
        "role": user["role"] or "authenticated",
        "email": user["email"] or "",
        "phone": user["phone"] or "",
        "app_metadata": user["raw_app_meta_data"] or {},
        "user_metadata": user["raw_user_meta_data"] or {},
        "identities": [],
        "is_anonymous": user["is_anonymous"],
    }
