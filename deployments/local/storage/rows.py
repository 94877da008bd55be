"""The rows of Storage: buckets and objects. Callers see and change what their policies let them."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from deployments.local.caller import Caller
from deployments.local.database import Database
from deployments.local.storage.errors import StorageRefusal, from_database, no_bucket, no_object

Row = dict[str, Any]
Cursor = psycopg.AsyncCursor[Row]
#: The owner of the tables: for what the service does on nobody's behalf, or for the bearer of a signed URL.
ADMIN = Caller("supabase_storage_admin", {})

_BUCKET = (
    "id, name, coalesce(owner_id, '') as owner, public, created_at, updated_at, file_size_limit, allowed_mime_types"
)
_INSERT = """
insert into storage.objects (bucket_id, name, owner, owner_id, version, metadata, user_metadata)
values (%(bucket)s, %(name)s, case when %(owner)s::text ~ '^[0-9a-f-]{36}$' then %(owner)s::uuid end, %(owner)s::text,
    %(version)s, %(metadata)s, %(user_metadata)s)
"""
_OR_REPLACE = """
on conflict (bucket_id, name) do update set version = excluded.version, metadata = excluded.metadata,
    user_metadata = excluded.user_metadata, owner = excluded.owner, owner_id = excluded.owner_id
"""
#: Folders are not rows: each is the common beginning of names. They come first, as on hosted projects.
_LIST = """
with rest as (
    select *, substr(name, length(%(prefix)s) + 1) as tail from storage.objects
    where bucket_id = %(bucket)s and starts_with(name, %(prefix)s)
), entries as (
    select split_part(tail, '/', 1) as name, null::uuid as id, null::timestamptz as updated_at,
        null::timestamptz as created_at, null::timestamptz as last_accessed_at, null::jsonb as metadata
    from rest where tail like '%%/%%' group by 1
    union all
    select tail, id, updated_at, created_at, last_accessed_at, metadata from rest where tail not like '%%/%%'
)
select * from entries where name ilike %(search)s || '%%' order by id is not null, {order}
limit %(limit)s offset %(offset)s
"""


@dataclass(frozen=True, slots=True)
class Bucket:
    id: str
    public: bool
    file_size_limit: int | None
    allowed_mime_types: list[str] | None

    def allows(self, content_type: str) -> bool:
        kind = content_type.split(";")[0].strip()
        return not self.allowed_mime_types or any(
            allowed in (kind, "*/*") or (allowed.endswith("/*") and kind.startswith(allowed[:-1]))
            for allowed in self.allowed_mime_types
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """An object to be stored."""

    bucket: str
    name: str
    owner: str | None
    replace: bool
    version: str = ""
    metadata: Row | None = None
    user_metadata: Row | None = None

    def values(self) -> Row:
        return {
            **{"bucket": self.bucket, "name": self.name, "owner": self.owner, "version": self.version},
            "metadata": json.dumps(self.metadata or {}),
            "user_metadata": json.dumps(self.user_metadata) if self.user_metadata else None,
        }

    @property
    def insert(self) -> str:
        return _INSERT + (_OR_REPLACE if self.replace else "")


class Rows:
    """Raises `StorageRefusal`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @contextlib.asynccontextmanager
    async def acting(self, caller: Caller, operation: str, *, keep: bool = True) -> AsyncIterator[Cursor]:
        settings = (("search_path", "storage, public, extensions"), ("storage.operation", f"storage.{operation}"))
        try:
            async with self.database.acting(caller, settings, keep=keep) as connection:
                yield connection.cursor(row_factory=dict_row)
        except (psycopg.Error, PoolTimeout) as error:
            raise from_database(error) from error

    async def bucket(self, bucket: str) -> Bucket:
        """Whoever asks: what may be done with it is a matter of its objects' policies."""
        row = await self.bucket_row(ADMIN, bucket)
        return Bucket(row["id"], row["public"], row["file_size_limit"], row["allowed_mime_types"])

    async def bucket_row(self, caller: Caller, bucket: str) -> Row:
        async with self.acting(caller, "bucket.get") as cursor:
            await cursor.execute(f"select {_BUCKET} from storage.buckets where id = %s", [bucket])  # noqa: S608
            row = await cursor.fetchone()
        if row is None:
            raise no_bucket()
        return row

    async def buckets(self, caller: Caller) -> list[Row]:
        async with self.acting(caller, "bucket.list") as cursor:
            await cursor.execute(f"select {_BUCKET} from storage.buckets order by name")  # noqa: S608
            return await cursor.fetchall()

    async def create_bucket(self, caller: Caller, bucket: Bucket) -> None:
        async with self.acting(caller, "bucket.create") as cursor:
            await cursor.execute(
                """insert into storage.buckets (id, name, owner_id, public, file_size_limit, allowed_mime_types)
                   values (%s, %s, %s, %s, %s, %s)""",
                (
                    *(bucket.id, bucket.id, caller.user_id, bucket.public),
                    *(bucket.file_size_limit, bucket.allowed_mime_types),
                ),
            )

    async def find(self, caller: Caller, bucket: str, name: str, operation: str = "object.get") -> Row:
        async with self.acting(caller, operation) as cursor:
            await cursor.execute("select * from storage.objects where bucket_id = %s and name = %s", [bucket, name])
            row = await cursor.fetchone()
        if row is None:
            raise no_object()
        return row

    async def check_may_store(self, caller: Caller, entry: Entry) -> None:
        """Whether the policies would let the caller: tried, and taken back."""
        async with self.acting(caller, "object.upload", keep=False) as cursor:
            await cursor.execute(entry.insert, entry.values())

    async def store(self, entry: Entry) -> tuple[Row, str | None]:
        """The row, and the version that it replaced. Who may has been checked before the bytes came."""
        async with self.acting(ADMIN, "object.upload") as cursor:
            await cursor.execute(
                "select version from storage.objects where bucket_id = %s and name = %s for update",
                [entry.bucket, entry.name],
            )
            former = await cursor.fetchone()
            await cursor.execute(f"{entry.insert} returning *", entry.values())
            row = await cursor.fetchone()
        assert row is not None
        return row, former["version"] if former else None

    async def delete(self, caller: Caller, bucket: str, names: list[str]) -> list[Row]:
        async with self.acting(caller, "object.delete") as cursor:
            await cursor.execute(
                "delete from storage.objects where bucket_id = %s and name = any(%s) returning *", [bucket, names]
            )
            return await cursor.fetchall()

    async def move(self, caller: Caller, source: tuple[str, str], target: tuple[str, str]) -> Row:
        async with self.acting(caller, "object.move") as cursor:
            await cursor.execute(
                "update storage.objects set bucket_id = %s, name = %s where bucket_id = %s and name = %s returning *",
                [*target, *source],
            )
            row = await cursor.fetchone()
        if row is None:
            raise no_object()
        return row

    async def list(self, caller: Caller, bucket: str, body: Row) -> list[Row]:
        """`body` as POST /object/list takes it."""
        sort = body.get("sortBy") or {}
        column, direction = sort.get("column", "name"), sort.get("order", "asc")
        if column not in ("name", "updated_at", "created_at", "last_accessed_at") or direction not in ("asc", "desc"):
            raise StorageRefusal(400, "InvalidRequest", "body/sortBy must be equal to one of the allowed values")
        prefix = str(body.get("prefix") or "").strip("/")
        values = {
            "bucket": bucket,
            "prefix": f"{prefix}/" if prefix else "",
            "search": str(body.get("search") or ""),
            "limit": int(body.get("limit") or 100),
            "offset": int(body.get("offset") or 0),
        }
        async with self.acting(caller, "object.list") as cursor:
            await cursor.execute(_LIST.format(order=f"{column} {direction}"), values)
            return await cursor.fetchall()


def plain(row: Row) -> Row:
    """As JSON can hold it."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value) if isinstance(value, uuid.UUID) else value
