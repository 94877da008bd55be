from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
import trustme

from blocks.engine import EngineChoice
from blocks.queue.memory import MemoryQueue
from blocks.queue.model import TaskSpec
from blocks.storage.download import dial
from blocks.storage.local import LocalStorage
from blocks.storage.protocol import Storage, StorageError
from blocks.storage.receive import Limits
from blocks.storage.supabase import SupabaseStorage
from deployments.local.stack import LocalSupabase
from tasks.engines.diffusion.weights import BadWeights
from tasks.errors import InvalidInput
from tasks.loras import LoraCache, WeightsDownloader, check_strengths, fetch_loras
from tasks.work import Site, Work
from tests.storage.servers import Server, always, answer, broken_off
from tests.supabase_stack import private_bucket, supabase  # noqa: F401  (one is a fixture)

URL = "https://styles.example/Sea-HighNoise.safetensors?token=secret"
OCTETS = "application/octet-stream"
PUBLIC = "93.184.216.34"


def weights(numbers: int = 1000) -> bytes:
    entry = {"a.lora_A.weight": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}
    header = json.dumps(entry).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4 * numbers)


class Web:
    """A make-believe host of styles, whose name has a public address."""

    def __init__(self, server: Server, trust: ssl.SSLContext, folder: Path) -> None:
        self.server, self.folder, self._trust = server, folder, trust

    def fetch(self, url: str = URL, **how: Any) -> Path:
        """As a run does that is over at once."""
        with contextlib.ExitStack() as run:
            return self.cache(**how).fetch(url, self.folder.parent, run)

    def cache(self, *, limits: Limits | None = None, address: str = PUBLIC) -> LoraCache:
        door = WeightsDownloader(
            limits=limits or Limits(pause=0.01),
            resolve=lambda *_: [address],
            dial=lambda _, port, timeout: dial("127.0.0.1", self.server.port, timeout),
            ssl_context=self._trust,
        )
        return LoraCache(self.folder, LocalStorage(self.folder.parent), "u", door)

    def left(self) -> list[Path]:
        """Whole or half, where they are kept and where they are received."""
        return [path for path in self.folder.parent.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def web(authority: trustme.CA, tmp_path: Path) -> Iterator[Web]:
    tls, trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("styles.example").configure_cert(tls)
    authority.configure_trust(trust)
    with Server(always(answer(weights(), kind=OCTETS)), tls=tls) as server:
        yield Web(server, trust, tmp_path / "loras")


def test_a_url_is_fetched_once_and_kept_under_its_hash_and_its_own_name(web: Web) -> None:
    file = web.fetch()
    assert web.fetch() == file
    assert file.name == f"{hashlib.sha256(URL.encode()).hexdigest()}-Sea-HighNoise.safetensors"
    assert file.read_bytes() == weights()
    assert len(web.server.asked) == 1


def test_another_url_is_another_file(web: Web) -> None:
    assert web.fetch() != web.fetch(URL.replace("secret", "other"))


def test_a_broken_connection_is_taken_up_again(web: Web) -> None:
    web.server.script = broken_off(weights(), after=100)
    assert web.fetch().read_bytes() == weights()


def pickle_of_torch() -> bytes:
    torch = pytest.importorskip("torch")
    made = io.BytesIO()
    torch.save({"a": torch.zeros(9)}, made)
    return made.getvalue()


def test_a_pickle_is_refused_at_its_first_bytes_and_not_kept(web: Web) -> None:
    # Far from whole: whoever read to the end would report a broken connection.
    web.server.script = always(answer(pickle_of_torch(), kind=OCTETS, length=1 << 30))
    with pytest.raises(BadWeights, match="whatever its name, it is a pickle"):
        web.fetch()
    assert web.left() == []


@pytest.mark.parametrize("body", [weights()[:-1], b"<html>sign in</html>", b""])
def test_what_is_no_whole_safetensors_file_is_not_kept(body: bytes, web: Web) -> None:
    web.server.script = always(answer(body, kind=OCTETS))
    with pytest.raises(BadWeights):
        web.fetch()
    assert web.left() == []


def test_a_file_above_the_limit_is_refused(web: Web) -> None:
    with pytest.raises(StorageError, match="larger than"):
        web.fetch(limits=Limits(size=100))
    assert web.left() == []


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "169.254.169.254", "::1"])
def test_a_name_that_leads_into_our_network_is_not_asked(address: str, web: Web) -> None:
    with pytest.raises(StorageError, match="not public"):
        web.fetch(address=address)
    assert web.server.asked == []


def test_a_file_of_the_storage_is_used_where_it_lies_once_it_is_verified(web: Web, tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    file.write_bytes(weights())
    assert web.fetch(str(file)) == file
    file.write_bytes(weights()[:50])
    with pytest.raises(BadWeights):
        web.fetch(str(file))


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), 11.0, -11.0])
def test_a_strength_that_no_lora_has_is_refused_without_telling_the_urls_token(strength: float) -> None:
    with pytest.raises(InvalidInput, match="additional_loras: the strength") as error:
        check_strengths({URL: strength})
    assert "secret" not in str(error.value)


def test_more_loras_than_one_model_takes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="17 LoRAs were given; at most 16"):
        check_strengths({f"{i}.safetensors": 1.0 for i in range(17)})


# What is kept


def named(letter: str) -> str:
    return f"https://styles.example/{letter}.safetensors"


def kept(web: Web) -> str:
    """The letters of the files in the cache."""
    return "".join(sorted(path.stem[-1] for path in web.folder.iterdir()))


def test_the_loras_used_longest_ago_go_first(web: Web) -> None:
    for letter in "abcab":
        web.fetch(named(letter))
    web.cache().prune(2 * len(weights()))
    assert kept(web) == "ab"
    web.cache().prune(2 * len(weights()) - 1)
    assert kept(web) == "b"


def test_a_lora_that_a_run_uses_outlives_any_pruning(web: Web) -> None:
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        for run in (first, second):
            file = web.cache().fetch(named("a"), web.folder.parent, run)
        web.fetch(named("b"))
        web.cache().prune(0)
        assert kept(web) == "a"
        first.close()
        web.cache().prune(0)
        assert file.read_bytes() == weights()
    web.cache().prune(0)
    assert kept(web) == ""


def test_two_runs_that_want_a_lora_at_once_get_the_same_whole_file(web: Web) -> None:
    with ThreadPoolExecutor(8) as runs:
        files = list(runs.map(lambda _: web.fetch(), range(8)))
    assert set(files) == {web.folder / files[0].name}
    assert web.left() == [files[0]]
    assert files[0].read_bytes() == weights()


# The whole step, in a run


def run_for(user: str, storage: Storage, folder: Path, **engines: Any) -> Work:
    queue = MemoryQueue()
    task = queue.enqueue(TaskSpec("single_image", {"prompt": "sea"}))[0].task
    site = Site(queue, storage, EngineChoice(**engines), folder / "work")
    unused = cast(Any, None)
    return Work(dataclasses.replace(task, user_id=user), 1, site, unused, unused, logging.getLogger())


async def fetched(work: Work, *locations: str) -> list[Path]:
    found = await fetch_loras.fn(work, dict.fromkeys(locations, 0.5))  # type: ignore[attr-defined]
    assert set(found.values()) <= {0.5}
    return [Path(path) for path in found]


@pytest.fixture
def internet(web: Web, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Web:
    """This process finds the web's host by its name, at a public address, and trusts its certificate."""
    certificate = tmp_path.parent / "authority.pem"
    authority.cert_pem.write_to_path(str(certificate))
    look_up, connect = socket.getaddrinfo, socket.create_connection
    names = {"styles.example": PUBLIC}
    places = {(PUBLIC, 443): ("127.0.0.1", web.server.port)}
    monkeypatch.setattr("certifi.where", lambda: str(certificate))
    monkeypatch.setattr("socket.getaddrinfo", lambda host, *a, **k: look_up(names.get(host, host), *a, **k))
    monkeypatch.setattr("socket.create_connection", lambda place, *a, **k: connect(places[place], *a, **k))
    return web


async def test_a_run_gets_loras_by_their_urls_and_leaves_them_to_the_next(internet: Web, tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    for user in ("u", "v"):
        with (work := run_for(user, storage, tmp_path)).until_end:
            files = await fetched(work, named("a"), named("b"))
            assert [file.read_bytes() for file in files] == [weights()] * 2
            assert list(work.folder.path.iterdir()) == []
    assert [asked.path for asked in internet.server.asked] == ["/a.safetensors", "/b.safetensors"]


async def test_a_run_leaves_no_more_than_the_operators_bound(internet: Web, tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "storage")
    for letter in "abc":
        with (work := run_for("u", storage, tmp_path, lora_cache_gb=1.5 * len(weights()) / 1e9)).until_end:
            [file] = await fetched(work, named(letter))
        assert list((tmp_path / "work" / "loras").iterdir()) == [file]


# In a project that several users share


@pytest.fixture
def bucket(supabase: LocalSupabase) -> SupabaseStorage:  # noqa: F811
    return private_bucket(supabase)


@pytest.mark.stack
async def test_a_users_own_lora_is_read_with_the_workers_key_and_nobody_elses(
    bucket: SupabaseStorage, tmp_path: Path
) -> None:
    file = tmp_path / "mine.safetensors"
    file.write_bytes(weights())
    url = bucket.put_input(file, owner="u").location
    for location in (url, url.split("/public/")[1]):
        [first], [second] = [await fetched(run_for("u", bucket, tmp_path), location) for _ in range(2)]
        assert first == second
        assert first.read_bytes() == weights()
        with pytest.raises(StorageError, match=r"was not fetched.*not found"):
            await fetched(run_for("v", bucket, tmp_path), location)


@pytest.mark.stack
async def test_an_anchor_too_is_read_for_its_owner_alone(bucket: SupabaseStorage, tmp_path: Path) -> None:
    file = tmp_path / "sea.png"
    file.write_bytes(b"picture")
    location = bucket.put_input(file, owner="u").location
    assert (await run_for("u", bucket, tmp_path).fetch(location)).read_bytes() == b"picture"
    with pytest.raises(StorageError, match=r"was not fetched.*not found"):
        await run_for("v", bucket, tmp_path).fetch(location)


@pytest.mark.stack
async def test_an_object_that_is_no_lora_is_not_kept(bucket: SupabaseStorage, tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    file.write_bytes(weights()[:-1])
    location = bucket.put_input(file, owner="u").location
    with pytest.raises(BadWeights, match="It was cut off"):
        await fetched(run_for("u", bucket, tmp_path), location)
    assert [path for path in (tmp_path / "work").rglob("*") if path.is_file()] == []
