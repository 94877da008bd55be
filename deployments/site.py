"""Where the tasks and files of these settings are: a Supabase project, or SQLite and a folder of the home."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blocks.queue.model import LOCAL_PROJECT, LOCAL_USER
from blocks.queue.protocol import TaskQueue
from blocks.storage.protocol import Storage
from blocks.supabase.access import SupabaseAccess
from deployments.local.state import State, folder_in
from deployments.settings import Settings
from deployments.stack.errors import StackError

LOCAL = "local"


class NoSupabase(StackError):
    """No Supabase project is known here, or not enough of it."""


@dataclass(frozen=True, slots=True)
class SupabaseSite:
    """A project and the right to use it. `allow_loopback`: it runs on this machine, and so may its inputs."""

    access: SupabaseAccess
    project_id: str | None
    allow_loopback: bool

    @property
    def is_service(self) -> bool:
        """Whether the key sees everybody's tasks."""
        return self.access.kind.is_service

    def queue(self) -> TaskQueue:
        from blocks.queue.supabase_fallback import open_supabase

        return open_supabase(self.access, project_id=self.project_id)

    def storage(self) -> Storage:
        from blocks.storage.supabase import SupabaseStorage

        return SupabaseStorage(self.access, allow_loopback=self.allow_loopback)

    def owner(self) -> str:
        """The user whom tasks of ours belong to: their inputs lie below this id. Raises `NoSupabase`."""
        from blocks.supabase.http import SupabaseClient

        client = SupabaseClient(self.access)
        try:
            found = client.request("GET", f"/rest/v1/projects?id=eq.{self.project_id}&select=user_id").body
        finally:
            client.close()
        match found:
            case [{"user_id": str(user_id)}]:
                return user_id
        raise NoSupabase(
            f"There is no project {self.project_id} at {self.access.url}.", "Set LONGTAKE_SUPABASE_PROJECT."
        )


def supabase_site(settings: Settings) -> SupabaseSite | None:
    """None if the settings name no Supabase project. Raises `NoSupabase`, `InvalidCredentials`."""
    if not settings.supabase_url:
        return None
    state = _local_state(settings)
    url, key, project = settings.supabase_url, settings.supabase_key.get_secret_value(), settings.supabase_project
    publishable = settings.supabase_publishable_key
    if url == LOCAL and state is None:
        raise NoSupabase("No local Supabase runs in this home.", "Start one with: longtake supabase start")
    is_local = state is not None and url in (LOCAL, state.url)
    if is_local and state is not None:
        url, key = state.url, key or state.keys["secret"]
        publishable = publishable or state.keys["publishable"]
    if not key:
        raise NoSupabase(
            f"There is no key for {url}.", "Put a secret key or a token (lt_…) into LONGTAKE_SUPABASE_KEY."
        )
    # The seed of the local stack has the local user and project; elsewhere each has its own.
    project_id = str(project) if project else LOCAL_PROJECT if is_local else None
    access = SupabaseAccess(url, key, publishable_key=publishable, bucket=settings.supabase_bucket)
    return SupabaseSite(access, project_id, allow_loopback=is_local)


def needed_supabase_site(settings: Settings) -> SupabaseSite:
    """As `supabase_site`; when the settings name none, the local one of this home. Raises `NoSupabase`."""
    site = supabase_site(settings)
    if site is None and _local_state(settings) is not None:
        site = supabase_site(settings.model_copy(update={"supabase_url": LOCAL}))
    if site is None:
        raise NoSupabase(
            "Which Supabase project?", "Set LONGTAKE_SUPABASE_URL, or start one here with: longtake supabase start"
        )
    return site


def open_queue(settings: Settings) -> TaskQueue:
    """The queue of these settings, made when it is missing. Raises `QueueUnavailable` and as `supabase_site`."""
    site = supabase_site(settings)
    if site is not None:
        return site.queue()
    from blocks.queue.sqlite import SqliteQueue

    return SqliteQueue(settings.queue_path)


def input_keeper(settings: Settings) -> Callable[[Path], str]:
    """A function that stores a file as an input and answers with its location. Both raise `StorageError`."""
    site = supabase_site(settings)
    if site is None:
        from blocks.storage.local import LocalStorage

        storage: Storage = LocalStorage(settings.storage_root)
        owner = LOCAL_USER
    else:
        storage, owner = site.storage(), site.owner()
    return lambda path: storage.put_input(path, owner=owner).location


def _local_state(settings: Settings) -> State | None:
    return State.read(folder_in(settings.home))
