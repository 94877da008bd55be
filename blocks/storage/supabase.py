"""Files in a Supabase project's bucket. Locations are the public URLs of the objects."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from blocks.storage.download import Downloader, local_name
from blocks.storage.names import PART, Fingerprint, content_type_of, fingerprint_of, safe_name, unreadable
from blocks.storage.protocol import Storage, StorageError, StorageUnavailable, Stored
from blocks.storage.receive import Body, Limits, receive
from blocks.storage.signatures import may_be_media
from blocks.storage.supabase_objects import Objects, as_storage_errors
from blocks.storage.supabase_ticket import Ticket
from blocks.storage.supabase_upload import Resumable, UploadGone
from blocks.supabase.access import SupabaseAccess
from blocks.supabase.errors import SupabaseRefused, SupabaseUnavailable
from blocks.supabase.http import SupabaseClient
from blocks.supabase.key import KeyKind

#: Up to here a file goes up in one call; above it, in parts that survive a cut.
RESUMABLE_ABOVE = PART
_WINDOW = 64 << 10


class SupabaseStorage(Storage):
    """Safe to share between threads.

    With a service key it writes outputs itself; any other key asks the edge function `generate-upload-url`, which
    checks who holds the task and signs the upload. `allow_loopback` lets foreign files come from this machine's own
    addresses (for the local stack). `allow_local_paths` lets `fetch` answer with files of this machine.
    """

    def __init__(
        self,
        access: SupabaseAccess,
        *,
        client: SupabaseClient | None = None,
        allow_loopback: bool = False,
        allow_local_paths: bool = False,
        limits: Limits | None = None,
        downloader: Downloader | None = None,
    ) -> None:
        self.access = access
        self.client = client or SupabaseClient(access)
        self.limits = limits or Limits()
        self._objects = Objects(self.client, access.bucket)
        self.local_paths = allow_local_paths
        self._downloader = downloader or Downloader(allow_loopback=allow_loopback, limits=self.limits)
        self._unfinished: dict[tuple[str, str], Resumable] = {}

    def put(self, source: Path, *, owner: str, task_id: str, attempt: int, name: str) -> Stored:
        wanted = fingerprint_of(source)
        with as_storage_errors(f"{name!r} of task {task_id} was not stored"):
            if self.access.kind.is_service:
                path = f"{safe_name(owner)}/{safe_name(task_id)}/{attempt}/{safe_name(name)}"
                return self._stored(source, wanted, path, replace=True)
            ticket = Ticket(self._objects, task_id, attempt, safe_name(name), content_type_of(name))
            return self._stored(source, wanted, ticket.path, replace=True, signature=ticket.token)

    def put_input(self, source: Path, *, owner: str) -> Stored:
        if self.access.kind is KeyKind.TOKEN:
            raise StorageError(
                "An access token (lt_…) may store outputs of its tasks, no inputs. Upload the file as a signed-in user."
            )
        wanted = fingerprint_of(source)
        path = f"{safe_name(owner)}/inputs/{wanted.sha256[:32]}/{safe_name(source.name)}"
        with as_storage_errors(f"{source.name!r} was not stored"):
            found = self._objects.find(path)
            if found is not None and found.size == wanted.size:  # its hash is in its path
                return Stored(self._objects.public_url(path), wanted.sha256, wanted.size)
            return self._stored(source, wanted, path, replace=found is not None)

    def keeps(self, location: str) -> bool:
        return self._objects.path_of(location) is not None

    def fetch(self, location: str, folder: Path, *, owner: str | None = None) -> Path:
        path = self._objects.path_of(location)
        if path is not None:
            # Our key opens every folder of the bucket. It must not open them to whoever names a path in a task.
            foreign = owner is not None and not path.startswith(f"{safe_name(owner)}/")
            return self._fetch_own(path, location, folder, public=foreign)
        if "://" in location and not location.startswith("file://"):
            return self._downloader.fetch(location, folder)
        return self._local(location)

    def delete(self, location: str) -> None:
        path = self._objects.path_of(location)
        if path is None:
            return
        if self.access.kind is KeyKind.TOKEN:
            raise StorageError("An access token (lt_…) may delete no files. Use the project's secret key.")
        with as_storage_errors(f"{path} was not deleted"):
            self._objects.delete(path)

    def close(self) -> None:
        self.client.close()

    def _stored(
        self,
        source: Path,
        wanted: Fingerprint,
        path: str,
        *,
        replace: bool,
        signature: Callable[[], str] | None = None,
    ) -> Stored:
        kind, seams = content_type_of(path), [0]
        if wanted.size > RESUMABLE_ABOVE:
            seams = self._send_resumable(source, wanted, path, kind, replace, signature)
        else:
            self._send_small(source, path, kind, replace, signature)
        if not self._is_there(path, wanted, source, seams):
            raise StorageUnavailable(f"{path} was stored with other bytes than {source} has. It can be stored again.")
        return Stored(self._objects.public_url(path), wanted.sha256, wanted.size)

    def _send_small(
        self, source: Path, path: str, kind: str, replace: bool, signature: Callable[[], str] | None
    ) -> None:
        try:
            content = source.read_bytes()
        except OSError as error:
            raise unreadable(source, error) from error
        with _already_there_is_fine(unless=replace):
            if signature is None:
                self._objects.put_small(path, content, kind, replace=replace)
            else:
                self._objects.put_small_signed(path, content, kind, signature())

    def _send_resumable(
        self,
        source: Path,
        wanted: Fingerprint,
        path: str,
        kind: str,
        replace: bool,
        signature: Callable[[], str] | None,
    ) -> list[int]:
        """Where the upload was cut and continued. One that was given up goes on here when it is tried again."""
        key = (path, wanted.sha256)
        fresh = Resumable(self.client, self.access.bucket, path, kind, replace=replace)
        upload = self._unfinished.setdefault(key, fresh)
        upload.signature = signature
        try:
            with _already_there_is_fine(unless=replace):
                upload.send(source, wanted.size)
        except UploadGone:
            # Finished, and the answer lost; or expired, and then it begins again, once.
            if not self._is_there(path, wanted, source, [0, *upload.seams]):
                upload.upload_id, upload.seams = "", []
                upload.send(source, wanted.size)
        except SupabaseUnavailable:
            raise  # kept: what is up there counts when it is tried again
        except BaseException:
            self._unfinished.pop(key, None)
            raise
        self._unfinished.pop(key, None)
        return [0, *upload.seams]

    def _is_there(self, path: str, wanted: Fingerprint, source: Path, seams: list[int]) -> bool:
        """Whether the object can be read and has our bytes (I9).

        Its size must agree, and its etag, where the server's is an MD5 of the whole or of 6 MiB parts, which proves
        every byte. Where it is something else, pieces are read back: a small file whole; of a large one the beginning,
        the end and the places where the upload was continued. Reading back 500 MB would double the traffic of every
        film, and TLS and the counted offsets leave only those places where bytes could have gone astray.
        """
        found = self._objects.find(path)
        if found is None or found.size != wanted.size:
            return False
        if found.etag in wanted.etags:
            return True
        pieces = [(0, wanted.size)]
        if wanted.size > RESUMABLE_ABOVE:
            starts = {max(0, min(seam - _WINDOW // 2, wanted.size - _WINDOW)) for seam in (*seams, wanted.size)}
            pieces = [(start, _WINDOW) for start in sorted(starts)]
        with source.open("rb") as file:
            for start, length in pieces:
                file.seek(start)
                if length and self._objects.read(path, start, length) != file.read(length):
                    return False
        return True

    def _fetch_own(self, path: str, location: str, folder: Path, *, public: bool) -> Path:
        @contextlib.contextmanager
        def open_at(offset: int, etag: str | None) -> Iterator[Body]:
            with self._objects.open(path, offset, etag, self.limits.stall, public=public) as (body, kind):
                if not may_be_media(kind) and not kind.startswith("application/json"):
                    raise StorageError(f"{path} is {safe_name(kind)[:60]}, which is nothing that tasks read.")
                yield body

        with as_storage_errors(f"{path} was not fetched"):
            return receive(open_at, folder / local_name(location), self.limits, what=path, only_media=False)

    def _local(self, location: str) -> Path:
        if not self.local_paths:
            raise StorageError(
                "A path of some machine cannot be read here: workers of this queue run anywhere. "
                "Store the file first and give its URL."
            )
        path = Path(location.removeprefix("file://"))
        if not path.is_absolute() or not path.is_file():
            raise StorageError(f"There is no file {str(path)!r}. Check the path; it must be absolute.")
        return path


@contextlib.contextmanager
def _already_there_is_fine(*, unless: bool) -> Iterator[None]:
    """A file that must not be replaced and is there is looked at afterwards, not written."""
    try:
        yield
    except SupabaseRefused as error:
        if unless or error.status != 409:
            raise
