"""Resumable uploads: TUS 1.0 over plain HTTP, as a client's library would send it."""

from __future__ import annotations

import base64
import socket
import time
import uuid
from collections.abc import Iterator

import httpx
import psutil
import pytest

from deployments.local.stack import LocalSupabase
from tests.conftest import private_home
from tests.supabase_stack import SMALL_PROJECT
from tests.supabase_stack import small_supabase as small_supabase

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]

MEGABYTE = 1_000_000


class Tus:
    """One upload. `token`: that of a signed upload, else as the service."""

    def __init__(self, stack: LocalSupabase, *, token: str = "", bearer: str = "") -> None:
        self.authority = {"x-signature": token} if token else {"authorization": f"Bearer {bearer or stack.secret_key}"}
        self.http = httpx.Client(headers={"tus-resumable": "1.0.0", **self.authority}, timeout=60)
        self.endpoint = f"{stack.url}/storage/v1/upload/resumable{'/sign' if token else ''}"
        self.location = ""

    def create(self, bucket: str, name: str, size: int, content_type: str = "video/mp4") -> httpx.Response:
        said = {"bucketName": bucket, "objectName": name, "contentType": content_type, "cacheControl": "60"}
        metadata = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in said.items())
        headers = {"upload-length": str(size), "upload-metadata": metadata}
        answer = self.http.post(self.endpoint, headers=headers)
        self.location = answer.headers.get("location", "")
        return answer

    def append(self, offset: int, content: bytes | Iterator[bytes], length: int | None = None) -> httpx.Response:
        headers = {"upload-offset": str(offset), "content-type": "application/offset+octet-stream"}
        if length is not None:
            headers["content-length"] = str(length)
        return self.http.patch(self.location, content=content, headers=headers)

    def offset(self) -> int:
        return int(self.http.head(self.location).headers["upload-offset"])


@pytest.fixture
def name() -> str:
    return f"{uuid.uuid4()}/film.mp4"


def public(stack: LocalSupabase, name: str) -> httpx.Response:
    return httpx.get(f"{stack.url}/storage/v1/object/public/films/{name}")


def cut_after(chunks: int) -> Iterator[bytes]:
    for _ in range(chunks):
        yield b"a" * MEGABYTE
    raise ConnectionError


def test_parts_become_an_object_when_the_last_has_come(small_supabase: LocalSupabase, name: str) -> None:
    upload = Tus(small_supabase)
    assert upload.create("films", name, 6).status_code == 201
    assert upload.append(0, b"fra").headers["upload-offset"] == "3"
    assert public(small_supabase, name).status_code == 400
    assert upload.append(3, b"mes").status_code == 204
    stored = public(small_supabase, name)
    assert (stored.content, stored.headers["content-type"]) == (b"frames", "video/mp4")
    assert stored.headers["cache-control"] == "max-age=60"
    assert upload.http.head(upload.location).status_code == 404


def test_a_cut_upload_goes_on_where_it_stopped(small_supabase: LocalSupabase, name: str) -> None:
    upload = Tus(small_supabase)
    upload.create("films", name, 5 * MEGABYTE)
    with pytest.raises(ConnectionError):
        upload.append(0, cut_after(3), 5 * MEGABYTE)
    reached = upload.offset()
    assert 0 < reached <= 3 * MEGABYTE
    assert upload.append(reached, b"b" * (5 * MEGABYTE - reached)).status_code == 204
    assert public(small_supabase, name).content == b"a" * reached + b"b" * (5 * MEGABYTE - reached)


def test_a_connection_that_hangs_gives_way_to_its_successor(small_supabase: LocalSupabase, name: str) -> None:
    upload = Tus(small_supabase)
    upload.create("films", name, 6)
    where = httpx.URL(upload.location)
    head = {"host": where.host, "upload-offset": "0", "content-length": "6", **upload.authority}
    head["content-type"] = "application/offset+octet-stream"
    lines = [f"PATCH {where.path} HTTP/1.1", *(f"{key}: {value}" for key, value in head.items()), "", "fra"]
    with socket.create_connection((where.host, where.port or 80), timeout=20) as hanging:
        hanging.sendall("\r\n".join(lines).encode())
        part = small_supabase.folder / "uploads" / f"{where.path.rsplit('/', 1)[1]}.part"
        deadline = time.monotonic() + 20
        while part.stat().st_size < 3:  # a HEAD would end the hanging one already
            assert time.monotonic() < deadline
        assert upload.append(upload.offset(), b"mes").status_code == 204
        assert hanging.recv(1000).startswith(b"HTTP/1.1 423")
    assert public(small_supabase, name).content == b"frames"


def test_an_upload_outlives_the_service() -> None:
    with private_home() as home, LocalSupabase(home, project=SMALL_PROJECT) as stack:
        upload = Tus(stack)
        upload.create("films", "film.mp4", 6)
        upload.append(0, b"fra")
        service = psutil.Process(stack.state().pids["service"])
        service.kill()
        service.wait()
        wait_for(stack)
        assert upload.offset() == 3
        upload.append(3, b"mes")
        assert public(stack, "film.mp4").content == b"frames"


def wait_for(stack: LocalSupabase) -> None:
    """Until the supervisor has started a new service."""
    transport = httpx.HTTPTransport(retries=10)
    with httpx.Client(transport=transport) as client:
        assert client.get(f"{stack.url}/auth/v1/health").is_success


def test_a_signed_upload_needs_its_token_and_nothing_else(small_supabase: LocalSupabase, name: str) -> None:
    service = {"apikey": small_supabase.secret_key}
    signed = httpx.post(f"{small_supabase.url}/storage/v1/object/upload/sign/films/{name}", headers=service).json()
    upload = Tus(small_supabase, token=signed["token"])
    assert upload.create("films", f"other/{name}", 6).status_code == 400
    assert upload.create("films", name, 6).status_code == 201
    assert httpx.head(upload.location, headers={"x-signature": "another"}).status_code == 400
    assert httpx.head(upload.location.replace("/sign", ""), headers=service).status_code == 404
    assert upload.append(0, b"frames").status_code == 204
    assert public(small_supabase, name).content == b"frames"


def test_an_upload_of_a_user_is_nobody_elses(small_supabase: LocalSupabase) -> None:
    me = str(uuid.uuid4())
    you = small_supabase.sign_user_jwt(str(uuid.uuid4()))
    upload = Tus(small_supabase, bearer=small_supabase.sign_user_jwt(me))
    assert upload.create("drafts", "elsewhere/a.png", 3, "image/png").status_code == 403
    assert upload.create("drafts", f"{me}/a.png", 3, "image/png").status_code == 201
    assert httpx.head(upload.location, headers={"authorization": f"Bearer {you}"}).status_code == 404
    assert upload.append(0, b"png").status_code == 204


def test_a_wrong_offset_is_a_conflict_and_too_many_bytes_are_refused(small_supabase: LocalSupabase, name: str) -> None:
    upload = Tus(small_supabase)
    upload.create("films", name, 6)
    assert upload.append(1, b"rames").status_code == 409
    assert upload.append(0, b"frames and more").status_code == 413
    assert upload.http.patch(upload.location, content=b"x", headers={"upload-offset": "0"}).status_code == 415


def test_the_bucket_decides_before_any_byte_comes(small_supabase: LocalSupabase) -> None:
    upload = Tus(small_supabase)
    assert upload.create("drafts", "a.png", MEGABYTE + 1, "image/png").status_code == 413
    assert upload.create("drafts", "a.mp4", 5, "video/mp4").status_code == 415
    assert upload.create("absent", "a.mp4", 5).status_code == 404
    assert upload.create("films", "big.mp4", 5_000_000_001).status_code == 413
    assert upload.create("films", "../a.mp4", 5).status_code in (201, 400)


def test_an_upload_that_is_given_up_is_gone(small_supabase: LocalSupabase, name: str) -> None:
    upload = Tus(small_supabase)
    upload.create("films", name, 6)
    assert upload.http.delete(upload.location).status_code == 204
    assert upload.append(0, b"frames").status_code == 404


@pytest.mark.parametrize("metadata", ["", "bucketName", "bucketName !", "objectName YQ=="])
def test_metadata_that_names_no_object_is_refused(small_supabase: LocalSupabase, metadata: str) -> None:
    upload = Tus(small_supabase)
    answer = upload.http.post(upload.endpoint, headers={"upload-length": "5", "upload-metadata": metadata})
    assert answer.status_code in (400, 404)


def test_a_large_upload_needs_little_memory(small_supabase: LocalSupabase, name: str) -> None:
    service = psutil.Process(small_supabase.state().pids["service"])
    upload, size = Tus(small_supabase), 100 * MEGABYTE
    upload.create("films", name, size)
    before, peak = service.memory_info().rss, 0

    def chunks() -> Iterator[bytes]:
        nonlocal peak
        for _ in range(100):
            yield b"x" * MEGABYTE
            peak = max(peak, service.memory_info().rss)

    assert upload.append(0, chunks(), size).status_code == 204
    assert peak - before < 16 * MEGABYTE
