from __future__ import annotations

import hashlib
import io
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from blocks.storage.download import dial
from blocks.storage.local import LocalStorage
from blocks.storage.protocol import StorageError
from blocks.storage.receive import Limits
from tasks.engines.diffusion.weights import BadWeights
from tasks.errors import InvalidInput
from tasks.loras import LoraCache, WeightsDownloader, check_strengths
from tests.storage.servers import Server, always, answer, broken_off

URL = "https://styles.example/Sea-HighNoise.safetensors?token=secret"
OCTETS = "application/octet-stream"


def weights(numbers: int = 1000) -> bytes:
    entry = {"a.lora_A.weight": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}
    header = json.dumps(entry).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4 * numbers)


class Web:
    """A make-believe host of styles, whose name has a public address."""

    def __init__(self, server: Server, trust: ssl.SSLContext, folder: Path) -> None:
        self.server, self.folder, self._trust = server, folder, trust

    def fetch(self, url: str = URL, *, limits: Limits | None = None, address: str = "93.184.216.34") -> Path:
        door = WeightsDownloader(
            limits=limits or Limits(pause=0.01),
            resolve=lambda *_: [address],
            dial=lambda _, port, timeout: dial("127.0.0.1", self.server.port, timeout),
            ssl_context=self._trust,
        )
        return LoraCache(self.folder, LocalStorage(self.folder.parent), door).fetch(url)

    def left(self) -> list[Path]:
        return list(self.folder.glob("*"))


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
