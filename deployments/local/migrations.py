"""Applies what a project brings: migrations as the role `postgres`, seeds, buckets."""

from __future__ import annotations

from pathlib import Path

import psycopg

from deployments.local.project import Migration, Project
from deployments.stack.errors import StackError


class MigrationFailed(StackError):
    """A file of SQL was refused by the database. Nothing of that file was kept."""


def migrate(connection: psycopg.Connection, project: Project) -> str | None:
    """Apply what is pending, and the seeds if all was. Answers with the newest version.

    Each file is one transaction and is recorded where the Supabase CLI looks. Raises `MigrationFailed`.
    """
    migrations = project.migrations()
    rows = connection.execute("select version from supabase_migrations.schema_migrations").fetchall()
    applied = {row[0] for row in rows}
    for migration in migrations:
        if migration.version not in applied:
            _apply(connection, migration)
    if not applied:
        for seed in project.seeds():
            with connection.transaction():
                _run(connection, seed)
    row = connection.execute("select max(version) from supabase_migrations.schema_migrations").fetchone()
    assert row is not None
    version: str | None = row[0]
    return version


def make_buckets(connection: psycopg.Connection, project: Project) -> None:
    """The buckets of config.toml; one that exists keeps its settings."""
    for bucket in project.buckets():
        connection.execute(
            """insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
               values (%s, %s, %s, %s, %s) on conflict do nothing""",
            (bucket.name, bucket.name, bucket.public, bucket.file_size_limit, bucket.allowed_mime_types),
        )


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    with connection.transaction():
        text = _run(connection, migration.path)
        connection.execute(
            "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)",
            (migration.version, migration.name, [text]),
        )
    connection.execute("reset all")  # a `set` of one migration is not the next one's


def _run(connection: psycopg.Connection, path: Path) -> str:
    text = path.read_text()
    try:
        connection.execute(text.encode())
    except psycopg.Error as error:
        found = error.diag
        line = text.count("\n", 0, int(found.statement_position)) + 1 if found.statement_position else None
        place = f"{path}, line {line}" if line else str(path)
        details = " ".join(part for part in (found.message_detail, found.message_hint, found.context) if part)
        raise MigrationFailed(f"{place}: {found.message_primary or error} ({error.sqlstate}).", details) from error
    return text
