"""The storage against a real stack: policies, links, resumable uploads."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.storage.names import PART
from blocks.storage.protocol import StorageError, StorageUnavailable
from blocks.storage.supabase import SupabaseStorage
from blocks.supabase.access import SupabaseAccess
from blocks.supabase.errors import SupabaseRefused
from blocks.supabase.http import SupabaseClient
from blocks.supabase.wire import Patience
from deployments.local.stack import LocalSupabase as Supabase
from tests.storage.servers import PNG, CuttingProxy
from tests.supabase_stack import private_bucket

pytestmark = pytest.mark.stack
_numbers = itertools.count()


@dataclass(frozen=True)
class User:
    id: str
    token: str


@pytest.fixture
def user(supabase: Supabase) -> User:
    return new_user(supabase)


def new_user(supabase: Supabase) -> User:
    email, password = f"user{next(_numbers)}-{secrets.token_hex(4)}@example.com", secrets.token_urlsafe()
    return User(supabase.create_user(email, password), supabase.sign_in(email, password))


def storage_of(supabase: Supabase, key: str, **more: Any) -> SupabaseStorage:
    return SupabaseStorage(SupabaseAccess(supabase.url, key, publishable_key=supabase.publishable_key), **more)


@pytest.fixture(params=["secret_key", "service_role_key"])
def storage(supabase: Supabase, request: pytest.FixtureRequest) -> SupabaseStorage:
    return storage_of(supabase, getattr(supabase, request.param))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(os.urandom(100_000))
    return path


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(random.Random(1).randbytes(4 * PART + 12345))
    return path


@pytest.fixture
def task() -> dict[str, Any]:
    return {"owner": "user-1", "task_id": secrets.token_hex(8), "attempt": 1}


def test_an_output_is_read_by_everybody_at_its_location(
    storage: SupabaseStorage, clip: Path, task: dict[str, Any]
) -> None:
    stored = storage.put(clip, **task, name="clip.mp4")
    assert stored.location.endswith(f"/object/public/image_uploads/user-1/{task['task_id']}/1/clip.mp4")
    answer = httpx.get(stored.location)
    assert answer.content == clip.read_bytes()
    assert answer.headers["content-type"] == "video/mp4"


def test_the_same_attempt_replaces_its_file_and_another_attempt_does_not(
    storage: SupabaseStorage, clip: Path, task: dict[str, Any], tmp_path: Path
) -> None:
    before = clip.read_bytes()
    first = storage.put(clip, **task, name="clip.mp4")
    other = storage.put(clip, **{**task, "attempt": 2}, name="clip.mp4")
    clip.write_bytes(PNG + os.urandom(50))
    assert storage.put(clip, **task, name="clip.mp4").location == first.location
    assert storage.fetch(first.location, tmp_path / "in").read_bytes() == clip.read_bytes()
    assert storage.fetch(other.location, tmp_path / "in").read_bytes() == before


def test_an_odd_file_name_is_stored_under_a_plain_one(
    storage: SupabaseStorage, clip: Path, task: dict[str, Any]
) -> None:
    stored = storage.put(clip, **task, name="../näme mit Löchern?.mp4")
    assert stored.location.rsplit("/", 2)[1:] == ["1", "_n_me_mit_L_chern_.mp4"]


def test_an_empty_file_is_stored_too(storage: SupabaseStorage, clip: Path, task: dict[str, Any]) -> None:
    clip.write_bytes(b"")
    assert httpx.get(storage.put(clip, **task, name="clip.mp4").location).content == b""


@pytest.mark.parametrize("shorten", [lambda url: url, lambda url: url.split("/object/public/image_uploads/")[1]])
def test_an_object_is_fetched_by_its_url_and_by_its_path(
    storage: SupabaseStorage, clip: Path, task: dict[str, Any], tmp_path: Path, shorten: Callable[[str], str]
) -> None:
    location = shorten(storage.put(clip, **task, name="clip.mp4").location)
    assert storage.fetch(location, tmp_path / "in").read_bytes() == clip.read_bytes()


def test_fetching_what_is_not_there_names_it(storage: SupabaseStorage, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"u/t/1/a\.mp4 was not fetched.*404") as refused:
        storage.fetch("u/t/1/a.mp4", tmp_path)
    assert not isinstance(refused.value, StorageUnavailable)


def test_the_storages_own_locations_are_told_from_others(storage: SupabaseStorage) -> None:
    own = storage.access.url + "/storage/v1/object/public/image_uploads/u/inputs/a.png"
    assert storage.keeps(own)
    assert storage.keeps("u/inputs/a.png")
    assert not storage.keeps("https://example.com/storage/v1/object/public/image_uploads/u/inputs/a.png")
    assert not storage.keeps("/u/inputs/a.png")


@pytest.mark.parametrize("shorten", [lambda url: url, lambda url: url.split("/object/public/")[1]])
def test_a_private_object_is_fetched_on_behalf_of_its_owner_alone(
    supabase: Supabase, clip: Path, tmp_path: Path, shorten: Callable[[str], str]
) -> None:
    private = private_bucket(supabase)
    location = shorten(private.put_input(clip, owner="u").location)
    assert private.fetch(location, tmp_path / "in", owner="u").read_bytes() == clip.read_bytes()
    for stranger in ("v", "", "u/inputs", "U"):
        with pytest.raises(StorageError, match=r"was not fetched.*not found"):
            private.fetch(location, tmp_path / "in", owner=stranger)


def test_a_public_object_is_fetched_on_behalf_of_anybody(storage: SupabaseStorage, clip: Path, tmp_path: Path) -> None:
    location = storage.put_input(clip, owner="u").location
    assert storage.fetch(location, tmp_path / "in", owner="v").read_bytes() == clip.read_bytes()


def test_a_deleted_object_is_gone_and_deleting_it_again_is_fine(
    storage: SupabaseStorage, clip: Path, task: dict[str, Any]
) -> None:
    stored = storage.put(clip, **task, name="clip.mp4")
    storage.delete(stored.location)
    storage.delete(stored.location)
    assert httpx.get(stored.location).status_code == 400


# Users


def test_a_user_stores_inputs_in_a_folder_of_their_own(
    supabase: Supabase, user: User, clip: Path, tmp_path: Path
) -> None:
    storage = storage_of(supabase, user.token)
    stored = storage.put_input(clip, owner=user.id)
    assert stored == storage.put_input(clip, owner=user.id)
    assert f"/{user.id}/inputs/{stored.sha256[:32]}/clip.mp4" in stored.location
    assert storage.fetch(stored.location, tmp_path / "in").read_bytes() == clip.read_bytes()


def test_a_user_cannot_write_into_the_folder_of_another(supabase: Supabase, user: User, clip: Path) -> None:
    with pytest.raises(StorageError, match=r"\(HTTP 403\).*<user id>/inputs/ only"):
        storage_of(supabase, user.token).put_input(clip, owner=new_user(supabase).id)


def test_a_user_reads_the_public_output_of_a_task(
    supabase: Supabase, user: User, storage: SupabaseStorage, clip: Path, task: dict[str, Any], tmp_path: Path
) -> None:
    stored = storage.put(clip, **task, name="clip.mp4")
    assert storage_of(supabase, user.token).fetch(stored.location, tmp_path / "in").read_bytes() == clip.read_bytes()


def test_a_user_cannot_delete_the_file_of_another(supabase: Supabase, user: User, clip: Path, tmp_path: Path) -> None:
    other = new_user(supabase)
    stored = storage_of(supabase, other.token).put_input(clip, owner=other.id)
    storage_of(supabase, user.token).delete(stored.location)
    assert httpx.get(stored.location).content == clip.read_bytes()


# Large files over connections that are cut


def test_a_large_file_survives_cuts_and_nothing_is_sent_twice_from_the_start(
    supabase: Supabase, film: Path, task: dict[str, Any]
) -> None:
    size = film.stat().st_size
    with CuttingProxy(httpx.URL(supabase.url).port or 0, cuts=[PART // 2, 2 * PART, 3 * PART + 99]) as proxy:
        storage = SupabaseStorage(SupabaseAccess(proxy.url, supabase.secret_key))
        stored = storage.put(film, **task, name="film.mp4")
        digest = hashlib.sha256(httpx.get(stored.location).content).hexdigest()
    assert digest == stored.sha256 == hashlib.sha256(film.read_bytes()).hexdigest()
    assert proxy.done == 3
    assert proxy.passed < size + 3 * PART


def test_an_upload_given_up_goes_on_where_it_was_when_it_is_tried_again(
    supabase: Supabase, film: Path, task: dict[str, Any]
) -> None:
    size = film.stat().st_size
    cuts = [2 * PART + at for at in range(1, 200)]  # from there on, every connection
    with CuttingProxy(httpx.URL(supabase.url).port or 0, cuts=cuts) as proxy:
        access = SupabaseAccess(proxy.url, supabase.secret_key)
        storage = SupabaseStorage(access, client=SupabaseClient(access, patience=Patience(sleep=lambda _: None)))
        with pytest.raises(StorageUnavailable):
            storage.put(film, **task, name="film.mp4")
        proxy.done = len(cuts)
        before = proxy.passed
        stored = storage.put(film, **task, name="film.mp4")
        assert httpx.get(stored.location).content == film.read_bytes()
    assert proxy.passed - before < size - PART


# A worker that has only a token


class Holder:
    """A user's worker with an access token, and the task that it holds."""

    def __init__(self, supabase: Supabase, user: User) -> None:
        self.token = "lt_" + secrets.token_urlsafe(32)
        self.user = user
        service = SupabaseClient(SupabaseAccess(supabase.url, supabase.secret_key))
        label = {"p_label": "worker", "p_prefix": self.token[:8], "p_scopes": ["enqueue", "work"], "p_user_id": user.id}
        hashed = hashlib.sha256(self.token.encode()).hexdigest()
        service.post_json("/rest/v1/rpc/create_token", {"p_hash": hashed, **label}, idempotent=False)
        rows = service.request(
            "POST",
            "/rest/v1/projects",
            json={"user_id": user.id, "name": "films"},
            headers={"prefer": "return=representation"},
        )
        self.client = SupabaseClient(SupabaseAccess(supabase.url, self.token))
        body = {"task_type": "single_image", "params": {"prompt": "sea"}, "project_id": rows.body[0]["id"]}
        self.task_id = self._call("create-task", body)["task_id"]
        self.attempt = self._call("claim-next-task", {"worker_id": "w", "lease": 30})["attempt"]
        start = {"verb": "start", "task_id": self.task_id, "attempt": self.attempt, "worker_id": "w"}
        self._call("queue", start)

    def _call(self, name: str, body: dict[str, Any]) -> Any:
        return self.client.post_json(f"/functions/v1/{name}", body, idempotent=False).body


@pytest.mark.parametrize("size", [5000, PART + 5000])
def test_a_worker_with_a_token_stores_the_output_of_the_task_that_it_holds(
    supabase: Supabase, user: User, tmp_path: Path, size: int
) -> None:
    (file := tmp_path / "a.png").write_bytes(PNG + os.urandom(size))
    holder = Holder(supabase, user)
    storage = storage_of(supabase, holder.token)
    key = {"owner": user.id, "task_id": holder.task_id, "attempt": holder.attempt}
    stored = storage.put(file, **key, name="a.png")
    assert stored.location.endswith(f"/{user.id}/{holder.task_id}/{holder.attempt}/a.png")
    assert storage.fetch(stored.location, tmp_path / "in").read_bytes() == file.read_bytes()


def test_a_worker_cannot_store_for_a_task_that_another_holds(supabase: Supabase, user: User, clip: Path) -> None:
    mine, other = Holder(supabase, user), Holder(supabase, new_user(supabase))
    key = {"owner": other.user.id, "task_id": other.task_id, "attempt": other.attempt}
    with pytest.raises(StorageError) as refused:
        storage_of(supabase, mine.token).put(clip, **key, name="a.png")
    assert isinstance(refused.value.__cause__, SupabaseRefused)
    assert refused.value.__cause__.status == 404
