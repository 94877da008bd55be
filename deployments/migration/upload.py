"""The files of the source into the project's bucket, each once, also over several runs."""

from __future__ import annotations

from pathlib import Path

from blocks.storage.names import fingerprint_of, safe_name
from blocks.storage.supabase import SupabaseStorage
from blocks.storage.supabase_objects import Objects, as_storage_errors
from blocks.supabase.http import SupabaseClient
from deployments.migration.older import Row
from deployments.migration.paths import LocalFiles, with_files
from deployments.site import SupabaseSite


class Uploads:
    """`count`: how many files are there because of it. The client stays the caller's."""

    def __init__(self, site: SupabaseSite, owner: str, files: LocalFiles, client: SupabaseClient) -> None:
        self.count = 0
        self._owner = owner
        self._files = files
        self._storage = SupabaseStorage(site.access, client=client)
        self._objects = Objects(client, site.access.bucket)
        self._stored: dict[Path, str] = {}

    def moved(self, row: Row) -> Row:
        """The row with the addresses of its files, which are there then. Raises `StorageError`."""
        return with_files(row, self._files.find, lambda path: self._output(row, path), self._other)

    def _output(self, row: Row, path: Path) -> str:
        attempt = max(1, row.get("attempts") or 1)
        # Where `put` stores it. A film that a run before has brought up is not brought up again.
        place = f"{safe_name(self._owner)}/{row['id']}/{attempt}/{safe_name(path.name)}"
        with as_storage_errors(f"{path.name!r} was not looked for"):
            found = self._objects.find(place)
        if found is not None and found.etag in fingerprint_of(path).etags:
            location = self._objects.public_url(place)
        else:
            location = self._storage.put(
                path, owner=self._owner, task_id=row["id"], attempt=attempt, name=path.name
            ).location
            self.count += 1
        self._stored[path] = location
        return location

    def _other(self, path: Path) -> str:
        if path not in self._stored:  # in the bucket it lies under its own hash
            self._stored[path] = self._storage.put_input(path, owner=self._owner).location
            self.count += 1
        return self._stored[path]
