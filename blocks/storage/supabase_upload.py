"""Resumable uploads (TUS 1.0 as Supabase Storage speaks it): in constant memory, continued after a cut."""

from __future__ import annotations

import base64
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from blocks.storage.names import PART
from blocks.supabase.errors import SupabaseRefused, SupabaseUnavailable
from blocks.supabase.http import SupabaseClient
from blocks.supabase.wire import Answer

log = logging.getLogger(__name__)

_PIECE = 256 << 10
_TRIES_WITHOUT_PROGRESS = 6


class UploadGone(Exception):
    """The server does not know the upload any more: it is finished, or it has expired."""


@dataclass
class Resumable:
    """One upload of one file to one path.

    `signature` gives the token of a signed upload, a fresh one when the last runs out; None: our key is the authority.
    `upload_id` is kept, so that the same upload can go on in a later `send`. `seams`: where it was cut and continued.
    """

    client: SupabaseClient
    bucket: str
    path: str
    content_type: str
    replace: bool
    signature: Callable[[], str] | None = None
    upload_id: str = ""
    seams: list[int] = field(default_factory=list)

    def send(self, source: Path, size: int) -> None:
        """Raises `SupabaseUnavailable` when nobody answers for long, `SupabaseRefused`, `UploadGone`."""
        if self.upload_id:
            offset = self._offset()
            self.seams.append(offset)
        else:
            self._create(size)
            offset = 0
        fruitless = 0
        while offset < size:
            try:
                offset = self._append(source, offset, size)
                fruitless = 0
            except (SupabaseUnavailable, SupabaseRefused) as error:
                if isinstance(error, SupabaseRefused) and error.status != httpx.codes.CONFLICT:
                    if error.status in _GONE:
                        raise UploadGone from error
                    raise
                reached = self._offset()
                fruitless = 0 if reached > offset else fruitless + 1
                if fruitless >= _TRIES_WITHOUT_PROGRESS:
                    raise _as_unavailable(error) from error
                log.info("supabase_upload_continued path=%s offset=%d size=%d", self.path, reached, size)
                self.seams.append(reached)
                offset = reached
                if fruitless:
                    self.client.patience.sleep(min(2.0**fruitless, 15) * random.uniform(0.25, 0.5))  # noqa: S311

    def _create(self, size: int) -> None:
        told = {"bucketName": self.bucket, "objectName": self.path, "contentType": self.content_type}
        told["cacheControl"] = "3600"
        metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in told.items())
        headers = {"upload-length": str(size), "upload-metadata": metadata, "x-upsert": str(self.replace).lower()}
        # A create whose answer was lost leaves an empty upload behind, which the server drops after a day.
        answer = self._call("POST", "", headers, idempotent=True)
        # Only the id is taken: behind a proxy the host or path of the location may be wrong, and our key goes there.
        self.upload_id = answer.headers.get("location", "").split("?", 1)[0].rstrip("/").rsplit("/", 1)[-1]
        if not self.upload_id:
            raise SupabaseUnavailable("Storage accepted a resumable upload without saying where it is.")

    def _offset(self) -> int:
        """How much the server has."""
        try:
            answer = self._call("HEAD", f"/{self.upload_id}", {}, idempotent=True)
        except SupabaseRefused as error:
            if error.status in _GONE:
                raise UploadGone from error
            raise
        return _offset_in(answer)

    def _append(self, source: Path, offset: int, size: int) -> int:
        """Send on to the next whole part, and answer with what the server has then."""
        end = min((offset // PART + 1) * PART, size)

        def pieces() -> Iterator[bytes]:
            with source.open("rb") as file:
                file.seek(offset)
                while (left := end - file.tell()) and (piece := file.read(min(left, _PIECE))):
                    yield piece

        headers = {
            "upload-offset": str(offset),
            "content-type": "application/offset+octet-stream",
            "content-length": str(end - offset),
        }
        # Not idempotent: after a lost answer the offset has to be asked for, which `send` does.
        answer = self._call("PATCH", f"/{self.upload_id}", headers, content=pieces, idempotent=False)
        reached = _offset_in(answer)
        if not offset < reached <= end:
            raise SupabaseUnavailable(f"Storage counts {reached} bytes after {end} were sent.")
        return reached

    def _call(
        self,
        method: str,
        where: str,
        headers: Mapping[str, str],
        *,
        idempotent: bool,
        content: Callable[[], Iterator[bytes]] | None = None,
    ) -> Answer:
        signed = {"x-signature": self.signature()} if self.signature else {}
        return self.client.request(
            method,
            f"/storage/v1/upload/resumable{'/sign' if self.signature else ''}{where}",
            headers={"tus-resumable": "1.0.0", **signed, **headers},
            content=content,
            idempotent=idempotent,
            public=self.signature is not None,
        )


_GONE = (404, 410)


def _offset_in(answer: Answer) -> int:
    offset = answer.headers.get("upload-offset", "")
    if not offset.isdecimal():
        raise SupabaseUnavailable("Storage did not say how much of the upload it has.")
    return int(offset)


def _as_unavailable(error: SupabaseUnavailable | SupabaseRefused) -> SupabaseUnavailable:
    if isinstance(error, SupabaseUnavailable):
        return error
    return SupabaseUnavailable(f"The upload does not get on: {error}")
