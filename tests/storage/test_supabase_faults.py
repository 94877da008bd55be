"""Uploads to a Supabase that has bad luck: what is reported stored is there, whatever happens on the way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import respx

from blocks.storage.names import PART
from blocks.storage.protocol import StorageError, StorageUnavailable
from blocks.storage.supabase import SupabaseStorage
from blocks.storage.supabase_objects import Objects
from blocks.supabase.access import SupabaseAccess
from blocks.supabase.http import SupabaseClient
from blocks.supabase.wire import Patience
from tests.blocks.supabase_keys import SECRET, TOKEN, URL, user_jwt
from tests.storage.fake_supabase import FakeSupabase
from tests.storage.servers import PNG, Server, always, answer, broken_off

KEY = {"owner": "user-1", "task_id": "task-1", "attempt": 2}
PATH = "user-1/task-1/2/film.mp4"
SIZE = 2 * PART + 1000


@pytest.fixture
def supabase() -> Iterator[FakeSupabase]:
    fake = FakeSupabase()
    with respx.mock(assert_all_called=False) as router:
        router.route().mock(side_effect=fake)
        yield fake


def storage_with(key: str, url: str = URL, **more: object) -> SupabaseStorage:
    access = SupabaseAccess(url, key, bucket="films")
    client = SupabaseClient(access, patience=Patience(sleep=lambda _: None))
    return SupabaseStorage(access, client=client, **more)  # type: ignore[arg-type]


@pytest.fixture
def storage() -> SupabaseStorage:
    return storage_with(SECRET)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(os.urandom(5000))
    return path


def once(fault: Callable[[httpx.Request], httpx.Response | None]) -> Callable[[httpx.Request], httpx.Response | None]:
    """A fault that happens the first time it applies."""
    happened: list[bool] = []

    def maybe(request: httpx.Request) -> httpx.Response | None:
        if happened:
            return None
        answer = fault(request)
        if answer is not None:
            happened.append(True)
        return answer

    return maybe


def patches(status: int, *, at: int = PART) -> Callable[[httpx.Request], httpx.Response | None]:
    def fault(request: httpx.Request) -> httpx.Response | None:
        is_it = request.method == "PATCH" and int(request.headers["upload-offset"]) >= at
        return httpx.Response(status) if is_it else None

    return fault


# Large files


def test_a_large_file_goes_up_in_parts_and_is_found_equal(
    supabase: FakeSupabase, storage: SupabaseStorage, film: Path
) -> None:
    stored = storage.put(film, **KEY, name="film.mp4")
    assert supabase.objects[PATH] == film.read_bytes()
    assert stored.sha256 == hashlib.sha256(film.read_bytes()).hexdigest()
    assert stored.location == f"{URL}/storage/v1/object/public/films/{PATH}"
    assert supabase.count("PATCH") == 3


@pytest.mark.parametrize("status", [500, 502, 423, 409, 408])
def test_a_part_that_fails_is_sent_again_from_where_the_server_is(
    supabase: FakeSupabase, storage: SupabaseStorage, film: Path, status: int
) -> None:
    supabase.before = once(patches(status))
    storage.put(film, **KEY, name="film.mp4")
    assert supabase.objects[PATH] == film.read_bytes()
    assert supabase.count("POST .*resumable") == 1
    assert supabase.count("HEAD") == 1


def test_the_lost_answer_to_a_part_does_not_send_it_twice(
    supabase: FakeSupabase, storage: SupabaseStorage, film: Path
) -> None:
    lost = once(patches(0, at=0))
    supabase.lose = lambda request: lost(request) is not None
    storage.put(film, **KEY, name="film.mp4")
    assert supabase.objects[PATH] == film.read_bytes()
    assert supabase.count("PATCH") == 3


def test_the_lost_answer_to_the_last_part_is_no_reason_to_begin_again(
    supabase: FakeSupabase, storage: SupabaseStorage, film: Path
) -> None:
    lost = once(patches(0, at=2 * PART))
    supabase.lose = lambda request: lost(request) is not None
    storage.put(film, **KEY, name="film.mp4")
    assert supabase.count("POST .*resumable") == 1


def test_an_upload_that_the_server_forgot_begins_again(
    supabase: FakeSupabase, storage: SupabaseStorage, film: Path
) -> None:
    def forget(request: httpx.Request) -> httpx.Response | None:
        if patches(0)(request):
            supabase.uploads.clear()
            return httpx.Response(404)
        return None

    supabase.before = once(forget)
    storage.put(film, **KEY, name="film.mp4")
    assert supabase.objects[PATH] == film.read_bytes()
    assert supabase.count("POST .*resumable") == 2


def test_an_upload_that_was_given_up_goes_on_when_it_is_tried_again(
    supabase: FakeSupabase, storage: SupabaseStorage, film: Path
) -> None:
    supabase.before = patches(503)
    with pytest.raises(StorageUnavailable, match=r"'film\.mp4' of task task-1 was not stored"):
        storage.put(film, **KEY, name="film.mp4")
    supabase.before = lambda request: None
    storage.put(film, **KEY, name="film.mp4")
    assert supabase.objects[PATH] == film.read_bytes()
    assert supabase.count("POST .*resumable") == 1


def test_a_file_that_changed_between_two_tries_does_not_go_on_in_the_old_upload(
    supabase: FakeSupabase, storage: SupabaseStorage, film: Path
) -> None:
    supabase.before = patches(503)
    with pytest.raises(StorageUnavailable):
        storage.put(film, **KEY, name="film.mp4")
    supabase.before = lambda request: None
    film.write_bytes(os.urandom(SIZE))
    storage.put(film, **KEY, name="film.mp4")
    assert supabase.objects[PATH] == film.read_bytes()


def test_a_file_over_the_projects_limit_says_what_to_raise(
    supabase: FakeSupabase, storage: SupabaseStorage, film: Path
) -> None:
    supabase.before = lambda request: httpx.Response(413, text="Maximum size exceeded")
    with pytest.raises(StorageError, match=r"Maximum size exceeded.*Raise the file size limit") as refused:
        storage.put(film, **KEY, name="film.mp4")
    assert not isinstance(refused.value, StorageUnavailable)


# Verified before it is reported stored


def other_etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]  # as under a key of the store's owner: 32 digits, no MD5


@pytest.mark.parametrize("kind", ["film", "clip"])
def test_a_server_whose_etag_proves_nothing_is_read_back(
    supabase: FakeSupabase, storage: SupabaseStorage, request: pytest.FixtureRequest, kind: str
) -> None:
    supabase.etag = other_etag
    stored = storage.put(request.getfixturevalue(kind), **KEY, name="film.mp4")
    assert stored.size == len(supabase.objects[PATH])
    read = supabase.count("GET .*/authenticated/films")
    assert read - supabase.count("info") == (2 if kind == "film" else 1)


@pytest.mark.parametrize("kind", ["film", "clip"])
@pytest.mark.parametrize("etag", [lambda content: hashlib.md5(content).hexdigest(), other_etag])
def test_other_bytes_in_the_store_are_not_reported_stored(
    supabase: FakeSupabase,
    storage: SupabaseStorage,
    request: pytest.FixtureRequest,
    kind: str,
    etag: Callable[[bytes], str],
) -> None:
    supabase.etag = etag
    supabase.spoil = lambda content: content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(StorageUnavailable, match="other bytes"):
        storage.put(request.getfixturevalue(kind), **KEY, name="film.mp4")


def test_a_byte_lost_at_a_seam_is_found(supabase: FakeSupabase, storage: SupabaseStorage, film: Path) -> None:
    supabase.etag = other_etag
    supabase.before = once(patches(500))
    supabase.spoil = lambda content: content[:PART] + bytes([content[PART] ^ 1]) + content[PART + 1 :]
    with pytest.raises(StorageUnavailable, match="other bytes"):
        storage.put(film, **KEY, name="film.mp4")


def test_an_object_that_cannot_be_found_is_not_reported_stored(
    supabase: FakeSupabase, storage: SupabaseStorage, clip: Path
) -> None:
    missing = {"statusCode": "404", "message": "Object not found"}
    supabase.before = lambda request: httpx.Response(400, json=missing) if "info" in request.url.path else None
    with pytest.raises(StorageUnavailable):
        storage.put(clip, **KEY, name="film.mp4")


# Without a service key


@pytest.mark.parametrize("key", [TOKEN, user_jwt(9e9)])
@pytest.mark.parametrize("kind", ["film", "clip"])
def test_without_a_service_key_the_holder_gets_a_signed_upload(
    supabase: FakeSupabase, request: pytest.FixtureRequest, key: str, kind: str
) -> None:
    supabase.ticket = {
        "storage_path": PATH,
        "token": "signature",
        "upload_url": "",
        "expires_at": "2999-01-01T00:00:00Z",
    }
    source = request.getfixturevalue(kind)
    storage_with(key).put(source, **KEY, name="film.mp4")
    assert supabase.objects[PATH] == source.read_bytes()
    assert supabase.count("/sign") == supabase.count("PATCH|PUT|POST .*resumable") > 0
    uploads = [one for one in supabase.sent if "/sign" in one.url.path]
    assert all("authorization" not in one.headers for one in uploads)  # the signature is authority enough


def test_an_upload_for_another_attempt_is_not_begun(supabase: FakeSupabase, clip: Path) -> None:
    supabase.ticket = {"storage_path": "user-1/task-1/3/film.mp4", "token": "signature"}
    with pytest.raises(StorageError, match="Attempt 2 does not hold task task-1 any more"):
        storage_with(TOKEN).put(clip, **KEY, name="film.mp4")
    assert supabase.objects == {}


@pytest.mark.parametrize("ticket", [{}, {"storage_path": "../../x", "token": "s"}, {"storage_path": PATH}])
def test_an_answer_that_is_no_ticket_is_refused(supabase: FakeSupabase, clip: Path, ticket: dict[str, str]) -> None:
    supabase.ticket = ticket
    with pytest.raises(StorageError, match="generate-upload-url"):
        storage_with(TOKEN).put(clip, **KEY, name="film.mp4")


def test_a_lost_claim_is_refused_by_what_the_function_says(supabase: FakeSupabase, clip: Path) -> None:
    stale = {"code": "stale_claim", "message": "The claim is gone.", "hint": "Stop working on it."}
    supabase.before = lambda request: httpx.Response(409, json=stale)
    with pytest.raises(StorageError, match=r"The claim is gone\. \(HTTP 409\)\. Stop working on it\."):
        storage_with(TOKEN).put(clip, **KEY, name="film.mp4")


def test_a_signature_about_to_run_out_is_renewed_in_the_middle(supabase: FakeSupabase, film: Path) -> None:
    supabase.ticket = {"storage_path": PATH, "token": "signature", "expires_at": "2001-01-01T00:00:00Z"}
    storage_with(TOKEN).put(film, **KEY, name="film.mp4")
    assert supabase.count("generate-upload-url") == 5  # at first, for the upload and for each of its three parts


def test_a_worker_with_a_token_is_told_what_it_may_not_do(supabase: FakeSupabase, clip: Path) -> None:
    with pytest.raises(StorageError, match="signed-in user"):
        storage_with(TOKEN).put_input(clip, owner="user-1")
    with pytest.raises(StorageError, match="secret key"):
        storage_with(TOKEN).delete(PATH)


# Inputs


def test_an_input_is_stored_once(supabase: FakeSupabase, storage: SupabaseStorage, clip: Path) -> None:
    first, second = storage.put_input(clip, owner="user-1"), storage.put_input(clip, owner="user-1")
    assert first == second
    assert supabase.count("POST") == 1
    assert list(supabase.objects) == [f"user-1/inputs/{first.sha256[:32]}/clip.mp4"]


def test_two_who_store_the_same_input_at_once_both_have_it(
    supabase: FakeSupabase, storage: SupabaseStorage, clip: Path
) -> None:
    path = f"user-1/inputs/{hashlib.sha256(clip.read_bytes()).hexdigest()[:32]}/clip.mp4"

    def other_is_first(request: httpx.Request) -> None:
        if request.method == "POST":
            supabase.objects[path] = clip.read_bytes()

    supabase.before = other_is_first  # type: ignore[assignment]
    assert storage.put_input(clip, owner="user-1").location.endswith(path)


def test_an_input_cut_short_by_someone_is_replaced(
    supabase: FakeSupabase, storage: SupabaseStorage, clip: Path
) -> None:
    stored = storage.put_input(clip, owner="user-1")
    path = next(iter(supabase.objects))
    supabase.objects[path] = b"half"
    assert storage.put_input(clip, owner="user-1") == stored
    assert supabase.objects[path] == clip.read_bytes()


# Whose a location is


@pytest.mark.parametrize(
    "location",
    [
        f"{URL}/storage/v1/object/public/films/../../../../auth/v1/admin/users",
        f"{URL}/storage/v1/object/public/films/%2e%2e/%2e%2e/auth/v1/admin/users",
        f"{URL}/storage/v1/object/public/films/a%2f..%2f..%2fb",
        f"{URL}/storage/v1/object/public/films/a\\..\\b",
        f"{URL}/storage/v1/object/public/films/a//b",
        f"{URL}/storage/v1/object/public/other/a/b.mp4",
        f"{URL}.evil.example/storage/v1/object/public/films/a/b.mp4",
        "films/../other/a.mp4",
        "user-1/task-1/2/a\x00b.mp4",
    ],
)
def test_a_path_with_a_way_up_is_never_asked_for_with_our_key(
    supabase: FakeSupabase, storage: SupabaseStorage, tmp_path: Path, location: str
) -> None:
    for act in (lambda: storage.fetch(location, tmp_path), lambda: storage.delete(location)):
        try:
            act()
        except StorageError:
            continue
    assert not any("apikey" in sent.headers or "authorization" in sent.headers for sent in supabase.sent)


@pytest.mark.parametrize(
    ("url", "location", "is_ours"),
    [
        (URL, f"{URL.upper().replace('HTTPS', 'https')}/storage/v1/object/public/films/a/b.mp4", True),
        (URL, f"{URL}:8443/storage/v1/object/public/films/a/b.mp4", False),
        (URL, f"{URL}/storage/v1/object/sign/films/a/b.mp4", False),
        (URL, f"https://user@{URL[8:]}/storage/v1/object/public/films/a/b.mp4", False),
        (URL, "https://[/storage/v1/object/public/films/a/b.mp4", False),
        (URL, "films/a/b.mp4", True),
        ("http://127.0.0.1:5000", "http://localhost:5000/storage/v1/object/public/films/a/b.mp4", True),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/storage/v1/object/public/films/a/b.mp4", False),
    ],
)
def test_a_location_is_ours_by_server_bucket_and_path(url: str, location: str, is_ours: bool) -> None:
    objects = Objects(SupabaseClient(SupabaseAccess(url, SECRET)), "films")
    assert objects.path_of(location) == ("a/b.mp4" if is_ours else None)


@pytest.mark.parametrize("location", ["/etc/passwd", "file:///etc/passwd", "C:\\a.png", "a.png", "~/a.png", ""])
def test_a_path_of_this_machine_is_refused_with_a_reason(
    supabase: FakeSupabase, storage: SupabaseStorage, tmp_path: Path, location: str
) -> None:
    with pytest.raises(StorageError, match=r"workers of this queue run anywhere\. Store the file first"):
        storage.fetch(location, tmp_path)


def test_a_path_of_this_machine_is_read_where_that_is_allowed(clip: Path, tmp_path: Path) -> None:
    storage = storage_with(SECRET, allow_local_paths=True)
    assert storage.fetch(str(clip), tmp_path) == clip
    with pytest.raises(StorageError, match="no file"):
        storage.fetch("/no/such.png", tmp_path)


def test_deleting_takes_our_objects_only(supabase: FakeSupabase, storage: SupabaseStorage, clip: Path) -> None:
    stored = storage.put(clip, **KEY, name="film.mp4")
    storage.delete("https://elsewhere.example/films/user-1/task-1/2/film.mp4")
    storage.delete(str(clip))
    assert PATH in supabase.objects
    storage.delete(stored.location)
    storage.delete(stored.location)
    assert supabase.objects == {}
    assert clip.exists()


# Fetching over a connection that breaks


def test_our_own_object_is_fetched_to_its_end_over_a_connection_that_breaks(tmp_path: Path) -> None:
    whole = PNG + os.urandom(500_000)

    with Server(broken_off(whole, 250_000)) as server:
        storage = storage_with(SECRET, server.url)
        file = storage.fetch(f"{server.url}/storage/v1/object/public/films/u/t/1/a.png", tmp_path)
    assert file.read_bytes() == whole
    assert len(server.asked) == 2
    assert server.asked[1].path == "/storage/v1/object/authenticated/films/u/t/1/a.png"


def test_a_page_instead_of_our_object_is_not_taken_for_it(tmp_path: Path) -> None:
    page = always(answer(b"<html>Maintenance</html>", kind="text/html"))
    with Server(page) as server, pytest.raises(StorageError, match="text_html"):
        storage_with(SECRET, server.url).fetch("films/u/t/1/a.png", tmp_path / "in")
    assert list((tmp_path / "in").iterdir()) == []
