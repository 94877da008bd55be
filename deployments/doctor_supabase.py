"""The part of `longtake doctor` that asks the Supabase project."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from blocks.queue.supabase import SCHEMA_VERSION
from blocks.storage.protocol import StorageError
from blocks.supabase.errors import InvalidCredentials, KeyExpired, SupabaseRefused, SupabaseUnavailable
from blocks.supabase.http import SupabaseClient
from blocks.supabase.wire import Patience
from deployments.findings import Check, failed, passed
from deployments.settings import Settings
from deployments.site import NoSupabase, SupabaseSite, supabase_site

_MIGRATE = "supabase db push, with the migrations of this version of Longtake"


def supabase_checks(settings: Settings) -> list[Check]:
    """Nothing when no project is configured; one failed check when it cannot be asked."""
    try:
        site = supabase_site(settings)
    except (NoSupabase, InvalidCredentials) as error:
        return [failed("supabase", error.message, error.hint)]
    if site is None:
        return []
    client = SupabaseClient(site.access, patience=Patience(total=5.0))
    try:
        return [_key(site), *_asked(site, client)]
    except (KeyExpired, InvalidCredentials) as error:
        return [failed("supabase", error.message, error.hint)]
    except (SupabaseUnavailable, SupabaseRefused) as error:
        return [failed("supabase", str(error), "Check LONGTAKE_SUPABASE_URL and LONGTAKE_SUPABASE_KEY.")]
    finally:
        client.close()


def _key(site: SupabaseSite) -> Check:
    kind = str(site.access.kind).replace("_", " ")
    whose = "sees all tasks" if site.is_service else "sees its owner's tasks only"
    return passed("supabase key", f"{kind} key for {site.access.url}: {whose}")


def _asked(site: SupabaseSite, client: SupabaseClient) -> Iterator[Check]:
    counts = client.post_json("/functions/v1/task-counts", {"history": False}, idempotent=True).body
    yield passed("edge functions", f"{counts['ready']} ready, {counts['in_progress']} in progress")
    if not site.is_service:
        return  # the rest is for the service to know
    found = client.post_json("/rest/v1/rpc/longtake_health", {"p_bucket": site.access.bucket}, idempotent=True).body
    yield _schema(found["schema_version"])
    yield _protection(found["unprotected_tables"])
    yield _bucket(site.access.bucket, found["bucket"])
    yield _project(site)


def _schema(version: str) -> Check:
    if version == SCHEMA_VERSION:
        return passed("schema", version)
    return failed("schema", f"{version}, and this version of Longtake wants {SCHEMA_VERSION}", _MIGRATE)


def _protection(unprotected: list[str]) -> Check:
    if not unprotected:
        return passed("row security", "forced on every table")
    return failed("row security", f"not forced on {', '.join(unprotected)}", "alter table … force row level security")


def _bucket(name: str, found: dict[str, Any] | None) -> Check:
    if found is None:
        return failed("bucket", f"there is no bucket {name}", f"Make it, or set LONGTAKE_SUPABASE_BUCKET. {_MIGRATE}")
    if not found["public"]:
        return failed("bucket", f"{name} is private: outputs cannot be read by link", "Make it public.")
    return passed("bucket", name)


def _project(site: SupabaseSite) -> Check:
    if site.project_id is None:
        return failed("project", "none is named for tasks of yours", "Set LONGTAKE_SUPABASE_PROJECT.")
    try:
        return passed("project", f"{site.project_id} of user {site.owner()}")
    except (NoSupabase, StorageError) as error:
        return failed("project", str(error), "Set LONGTAKE_SUPABASE_PROJECT to a row of the table projects.")
