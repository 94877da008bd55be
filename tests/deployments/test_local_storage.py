"""Storage, through supabase-py and plain HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from storage3.exceptions import StorageApiError
from supabase import Client, ClientOptions, create_client

from deployments.local.stack import LocalSupabase
from tests.supabase_stack import small_supabase as small_supabase
from tests.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]

FILM = {"content-type": "video/mp4"}


@pytest.fixture
def films(small_supabase: LocalSupabase) -> Any:
    """A public bucket, as the service."""
    return create_client(small_supabase.url, small_supabase.secret_key).storage.from_("films")


@pytest.fixture
def name() -> str:
    return f"{uuid.uuid4()}/a film (1).mp4"


@pytest.fixture
def http(small_supabase: LocalSupabase) -> Iterator[httpx.Client]:
    base, headers = f"{small_supabase.url}/storage/v1", {"authorization": f"Bearer {small_supabase.secret_key}"}
    with httpx.Client(base_url=base, headers=headers) as client:
        yield client


def signed_in(stack: LocalSupabase, user_id: str) -> Client:
    bearer = {"Authorization": f"Bearer {stack.sign_user_jwt(user_id)}"}
    return create_client(stack.url, stack.publishable_key, ClientOptions(headers=bearer))


def test_what_was_stored_comes_back_with_what_was_said_of_it(films: Any, name: str) -> None:
    films.upload(name, b"frames", {**FILM, "cache-control": "60", "metadata": {"take": 2}})
    told = films.info(name)
    assert films.download(name) == b"frames"
    assert [told[key] for key in ("size", "content_type", "cache_control", "metadata")] == [
        6,
        "video/mp4",
        "max-age=60",
        {"take": 2},
    ]


def test_a_public_object_is_read_by_anyone_whole_or_in_part(films: Any, name: str) -> None:
    films.upload(name, b"0123456789", FILM)
    url = films.get_public_url(name)
    whole = httpx.get(url)
    part = httpx.get(url, headers={"range": "bytes=4-", "if-range": whole.headers["etag"]})
    assert (whole.content, whole.headers["content-type"]) == (b"0123456789", "video/mp4")
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"456789", "bytes 4-9/10")
    assert httpx.get(url, headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    assert httpx.head(url).headers["content-length"] == "10"


def test_an_object_is_replaced_only_when_asked(films: Any, name: str) -> None:
    films.upload(name, b"first", FILM)
    with pytest.raises(StorageApiError) as refused:
        films.upload(name, b"second", FILM)
    assert (str(refused.value.status), films.download(name)) == ("409", b"first")
    films.upload(name, b"third", {**FILM, "upsert": "true"})
    assert films.download(name) == b"third"


def test_of_many_who_create_the_same_object_one_wins(films: Any, name: str) -> None:
    def put(number: int) -> bool:
        try:
            films.upload(name, str(number).encode(), FILM)
        except StorageApiError:
            return False
        return True

    with ThreadPoolExecutor(8) as writers:
        won = list(writers.map(put, range(8)))
    assert won.count(True) == 1
    assert films.download(name) == str(won.index(True)).encode()


def test_names_are_listed_with_folders_moved_copied_and_removed(films: Any) -> None:
    folder = str(uuid.uuid4())
    films.upload(f"{folder}/b.mp4", b"b", FILM)
    films.move(f"{folder}/b.mp4", f"{folder}/sub/c.mp4")
    films.copy(f"{folder}/sub/c.mp4", f"{folder}/a.mp4")
    assert [(entry["name"], entry["id"] is None) for entry in films.list(folder)] == [("sub", True), ("a.mp4", False)]
    assert [entry["name"] for entry in films.remove([f"{folder}/sub/c.mp4", "absent"])] == [f"{folder}/sub/c.mp4"]
    assert films.download(f"{folder}/a.mp4") == b"b"
    assert not films.exists(f"{folder}/sub/c.mp4")


def test_policies_let_a_user_write_only_to_an_own_folder(small_supabase: LocalSupabase) -> None:
    me, you = str(uuid.uuid4()), str(uuid.uuid4())
    mine = signed_in(small_supabase, me).storage.from_("drafts")
    text = {"content-type": "text/plain"}
    mine.upload(f"{me}/a.txt", b"mine", text)
    for elsewhere in (f"{you}/a.txt", "a.txt"):
        with pytest.raises(StorageApiError) as refused:
            mine.upload(elsewhere, b"mine", text)
        assert str(refused.value.status) == "403"
    assert mine.download(f"{me}/a.txt") == b"mine"
    with pytest.raises(StorageApiError):
        signed_in(small_supabase, you).storage.from_("drafts").download(f"{me}/a.txt")


def test_a_private_object_is_not_public(small_supabase: LocalSupabase, http: httpx.Client) -> None:
    http.post("/object/drafts/secret.txt", content=b"x", headers={"content-type": "text/plain", "x-upsert": "true"})
    anyone = httpx.get(f"{small_supabase.url}/storage/v1/object/public/drafts/secret.txt")
    nobody = httpx.get(f"{small_supabase.url}/storage/v1/object/drafts/secret.txt")
    assert (anyone.json()["statusCode"], nobody.status_code) == ("404", 400)


def test_a_signed_url_opens_one_object_for_a_while(films: Any, name: str) -> None:
    films.upload(name, b"frames", FILM)
    url = films.create_signed_url(name, 60)["signedURL"]
    assert httpx.get(url).content == b"frames"
    assert httpx.get(url.replace("film", "movie")).status_code == 400
    assert httpx.get(f"{url}x").json()["code"] == "InvalidJWT"
    many = films.create_signed_urls([name, "absent"], 60)
    assert [entry["error"] is None for entry in many] == [True, False]


def test_a_signed_upload_stores_one_object_for_its_owner(
    small_supabase: LocalSupabase, films: Any, name: str, http: httpx.Client
) -> None:
    signed = films.create_signed_upload_url(name)
    anyone = create_client(small_supabase.url, small_supabase.publishable_key).storage.from_("films")
    with pytest.raises(StorageApiError):
        anyone.upload_to_signed_url(f"other/{name}", signed["token"], b"x", FILM)
    anyone.upload_to_signed_url(name, signed["token"], b"frames", FILM)
    assert films.download(name) == b"frames"
    again = http.put(f"/object/upload/sign/films/{name}", params={"token": signed["token"]}, content=b"x", headers=FILM)
    assert again.json()["error"] == "Duplicate"
    download = httpx.get(f"{small_supabase.url}/storage/v1/object/sign/films/{name}", params={"token": signed["token"]})
    assert download.json()["code"] == "InvalidSignature"


@pytest.mark.parametrize("multipart", [True, False])
def test_size_and_type_of_the_bucket_hold(http: httpx.Client, multipart: bool) -> None:
    def put(content: bytes, content_type: str) -> str:
        target = f"/object/drafts/{uuid.uuid4()}"
        if multipart:
            answer = http.post(target, files={"file": ("f", content, content_type)})
        else:
            answer = http.post(target, content=content, headers={"content-type": content_type})
        return str(answer.json().get("statusCode", answer.status_code))

    assert put(b"x" * 10**6, "image/png") == "200"
    assert put(b"x" * (10**6 + 1), "image/png") == "413"
    assert put(b"x", "video/mp4") == "415"


def test_a_body_without_a_length_is_measured_as_it_comes(http: httpx.Client) -> None:
    chunks = iter([b"x" * 100_000] * 11)
    answer = http.post(f"/object/drafts/{uuid.uuid4()}", content=chunks, headers={"content-type": "image/png"})
    assert answer.json()["statusCode"] == "413"


@pytest.mark.parametrize("name", ["ä.mp4", "a%23b.mp4", "x" * 1025, "a%00b", "a%09b", "~", "a%5Cb"])
def test_names_that_hosted_storage_refuses_are_refused(http: httpx.Client, name: str) -> None:
    assert http.post(f"/object/films/{name}", content=b"x").json()["code"] == "InvalidKey"


def test_a_name_never_leads_out_of_the_bucket(http: httpx.Client, small_supabase: LocalSupabase) -> None:
    http.post("/object/films/..%2F..%2Fstate.json", content=b"x")
    assert b"publishable" in (small_supabase.folder / "state.json").read_bytes()


@pytest.mark.parametrize(
    "body", [b"", b"--x\r\n", b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n']
)
def test_a_form_without_a_file_is_refused(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/object/films/a", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.json()["statusCode"] == "400"


def test_an_upload_that_is_cut_leaves_nothing(http: httpx.Client, small_supabase: LocalSupabase, name: str) -> None:
    def cut() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise ConnectionError

    with pytest.raises(ConnectionError):
        http.post(f"/object/films/{name}", content=cut(), headers={"content-length": "200000"})
    assert http.get(f"/object/info/films/{name}").json()["statusCode"] == "404"
    uploads = small_supabase.folder / "uploads"
    # The server notices the cut later than we do.
    until(lambda: not list(uploads.glob("direct-*")), "the removal of what had come")


def test_buckets_are_those_of_the_project_and_new_ones(small_supabase: LocalSupabase) -> None:
    storage = create_client(small_supabase.url, small_supabase.secret_key).storage
    storage.create_bucket("made", options={"public": False, "file_size_limit": 10})
    found = {bucket.name: bucket for bucket in storage.list_buckets()}
    assert (found["films"].public, found["drafts"].file_size_limit, found["made"].file_size_limit) == (True, 10**6, 10)
    assert storage.get_bucket("made").public is False


def test_only_the_service_makes_buckets(small_supabase: LocalSupabase) -> None:
    with pytest.raises(StorageApiError) as refused:
        signed_in(small_supabase, str(uuid.uuid4())).storage.create_bucket("stolen")
    assert str(refused.value.status) == "403"


@pytest.mark.parametrize(
    "call", ["PUT /bucket/films", "DELETE /bucket/films", "POST /object/list-v2/films", "GET /s3/x"]
)
def test_what_is_not_emulated_is_an_error(http: httpx.Client, call: str) -> None:
    method, path = call.split()
    answer = http.request(method, path, json={})
    assert (answer.status_code, answer.json()["statusCode"]) == (501, "501")
