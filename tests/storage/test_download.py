from __future__ import annotations

import ipaddress
import os
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpcore
import pytest
import trustme

from blocks.storage.download import Downloader, dial
from blocks.storage.protocol import StorageError, StorageUnavailable
from blocks.storage.receive import Limits
from tests.storage.servers import PNG, Asked, Script, Server, always, answer, broken_off, redirect

PICTURE = PNG + os.urandom(300_000)
HOST = "pictures.example"
PUBLIC = "93.184.216.34"
QUICK = Limits(pause=0.01)


class Web:
    """A make-believe public web: names with addresses, all of which lead to one TLS server of this machine."""

    def __init__(self, server: Server, authority: trustme.CA) -> None:
        self.server = server
        self.names = {HOST: [PUBLIC], "other.example": ["2606:4700::1111"]}
        self.resolved: list[str] = []
        self.dialled: list[str] = []
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)

    def resolve(self, host: str, port: int) -> list[str]:
        self.resolved.append(host)
        if host in self.names:
            return self.names[host]
        return [str(ipaddress.ip_address(host))]

    def dial(self, address: str, port: int, timeout: float | None) -> httpcore.NetworkStream:
        self.dialled.append(address)
        return dial("127.0.0.1", self.server.port, timeout)

    def downloader(self, limits: Limits | None = None, *, allow_loopback: bool = False) -> Downloader:
        return Downloader(allow_loopback, limits or QUICK, self.resolve, self.dial, self.trust)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def web(authority: trustme.CA) -> Iterator[Web]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST, "other.example").configure_cert(context)
    with Server(always(answer(PICTURE)), tls=context) as server:
        yield Web(server, authority)


def served(script: Script, folder: Path, limits: Limits | None = None) -> Path:
    """What comes of fetching from a server of this machine that follows `script`."""
    with Server(script) as server:
        return Downloader(allow_loopback=True, limits=limits or QUICK).fetch(f"{server.url}/a.png", folder)


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []


# Where it may go


def test_a_public_picture_is_fetched_from_the_address_that_was_checked(web: Web, tmp_path: Path) -> None:
    file = web.downloader().fetch(f"https://{HOST}/album/sea.png?size=l", tmp_path)
    assert file.read_bytes() == PICTURE
    assert file.name.endswith("-sea.png")
    assert (web.resolved, web.dialled) == ([HOST], [PUBLIC])
    assert web.server.asked[0].headers["host"] == HOST


def test_a_name_is_resolved_once_so_that_it_cannot_answer_otherwise_later(web: Web, tmp_path: Path) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    web.resolve = lambda host, port: next(answers)  # type: ignore[method-assign]
    web.downloader().fetch(f"https://{HOST}/a.png", tmp_path)
    assert web.dialled == [PUBLIC]


def test_the_certificate_must_be_the_names(web: Web, tmp_path: Path) -> None:
    web.names["stranger.example"] = [PUBLIC]
    with pytest.raises(StorageUnavailable, match="certificate"):
        web.downloader().fetch("https://stranger.example/a.png", tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/a.png",
        "https://[::1]/a.png",
        "https://[::ffff:127.0.0.1]/a.png",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/a.png",
        "https://[fd00::1]/a.png",
        "https://inside.example/a.png",
        "https://mixed.example/a.png",
    ],
)
def test_an_address_inside_is_never_dialled(web: Web, tmp_path: Path, url: str) -> None:
    web.names |= {"inside.example": ["192.168.0.1"], "mixed.example": [PUBLIC, "10.0.0.1"]}
    with pytest.raises(StorageError, match="not public"):
        web.downloader().fetch(url, tmp_path)
    assert web.dialled == []
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"http://{HOST}/a.png", "not encrypted"),
        ("http://127.0.0.1/a.png", "not encrypted"),
        (f"https://user:hunter2@{HOST}/a.png", "user name"),
        (f"https://{HOST}:22/a.png", "Port 22"),
        (f"https://{HOST}:6379/a.png", "Port 6379"),
        ("ftp://files.example/a.png", "ftp"),
        ("file:///etc/passwd", "file"),
        ("gopher://x.example/", "gopher"),
        ("data:image/png;base64,AAAA", "data"),
        ("https:///a.png", "names no server"),
        ("https://exa mple/a.png", "names no server"),
        (f"https://{HOST}:99999/a.png", "no URL|Port"),
        ("https://[", "names no server"),
        ("//evil.example/a.png", "not fetched"),
        ("", "not fetched"),
    ],
)
def test_a_url_of_another_kind_is_refused_before_any_look_up(web: Web, tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as refused:
        web.downloader().fetch(url, tmp_path)
    assert (web.resolved, web.dialled) == ([], [])
    assert "hunter2" not in str(refused.value)


def test_a_redirect_is_followed_to_another_public_name(web: Web, tmp_path: Path) -> None:
    def script(asked: Asked) -> Iterator[bytes]:
        yield redirect("https://other.example/b.png") if asked.path == "/a.png" else answer(PICTURE)

    web.server.script = script
    file = web.downloader().fetch(f"https://{HOST}/a.png", tmp_path)
    assert file.read_bytes() == PICTURE
    assert web.dialled == [PUBLIC, "2606:4700::1111"]


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1/a.png",
        "https://inside.example/a.png",
        "//inside.example/a.png",
        f"http://{HOST}/a.png",
        "http://127.0.0.1:8000/a.png",
        f"https://u:p@{HOST}/a.png",
        f"https://{HOST}:25/",
        "file:///etc/passwd",
        "https://[",
    ],
)
def test_a_redirect_passes_the_same_door(web: Web, tmp_path: Path, location: str) -> None:
    web.names["inside.example"] = ["10.0.0.1"]
    web.server.script = always(redirect(location))
    with pytest.raises(StorageError):
        web.downloader().fetch(f"https://{HOST}/a.png", tmp_path)
    assert web.dialled == [PUBLIC]


def test_redirects_end(web: Web, tmp_path: Path) -> None:
    web.server.script = always(redirect("/again.png"))
    with pytest.raises(StorageError, match="redirects more than 5 times"):
        web.downloader().fetch(f"https://{HOST}/a.png", tmp_path)
    assert len(web.server.asked) == 6


def test_no_proxy_of_the_environment_is_used(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    web.downloader().fetch(f"https://{HOST}/a.png", tmp_path)
    assert web.dialled == [PUBLIC]


def test_nothing_but_the_request_itself_is_sent(web: Web, tmp_path: Path) -> None:
    web.downloader().fetch(f"https://{HOST}/a.png", tmp_path)
    assert set(web.server.asked[0].headers) == {"host", "accept", "accept-encoding", "user-agent"}


# This machine, by explicit setting


def test_this_machine_is_reached_by_setting_only(tmp_path: Path) -> None:
    with Server(always(answer(PICTURE))) as server:
        assert (
            Downloader(allow_loopback=True, limits=QUICK).fetch(f"{server.url}/a.png", tmp_path).read_bytes() == PICTURE
        )
        with pytest.raises(StorageError):
            Downloader().fetch(f"{server.url}/a.png", tmp_path)
    assert len(server.asked) == 1


def test_with_that_setting_a_public_name_still_cannot_lead_inside(web: Web, tmp_path: Path) -> None:
    web.names["inside.example"] = ["127.0.0.1"]
    with pytest.raises(StorageError, match="not public"):
        web.downloader(allow_loopback=True).fetch("https://inside.example/a.png", tmp_path)
    web.server.script = always(redirect("http://127.0.0.1:8000/a.png"))
    with pytest.raises(StorageError, match="not encrypted"):
        web.downloader(allow_loopback=True).fetch(f"https://{HOST}/a.png", tmp_path)
    assert web.dialled == [PUBLIC]


# What may come


def test_a_picture_in_chunks_is_whole(tmp_path: Path) -> None:
    pieces = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (PICTURE[:1000], PICTURE[1000:], b""))
    script = always(answer(pieces, content_length="", transfer_encoding="chunked"))
    assert served(script, tmp_path).read_bytes() == PICTURE


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        (answer(b"<html>", kind="text/html"), "text_html, no picture, video or sound"),
        (answer(b"{}", kind="application/json"), "no picture, video or sound"),
        (answer(b"<html>Sign in</html>" + bytes(1000), kind="image/png"), "no picture, video or sound"),
        (answer(b"<svg/>", kind="image/svg+xml"), "no picture, video or sound"),
        (answer(b"", kind="image/png"), "no picture, video or sound"),
        (answer(PICTURE, content_encoding="gzip"), "compressed"),
        (answer(PICTURE, content_length=""), "without its length"),
        (answer(b"", status="404 Not Found"), "HTTP 404"),
        (answer(b"", status="403 Forbidden"), "HTTP 403"),
        (answer(b"", status="304 Not Modified"), "HTTP 304"),
    ],
)
def test_what_is_no_picture_is_refused_and_leaves_nothing(tmp_path: Path, whole: bytes, said: str) -> None:
    with pytest.raises(StorageError, match=said) as refused:
        served(always(whole), tmp_path)
    assert not isinstance(refused.value, StorageUnavailable)
    assert left_in(tmp_path) == []


def test_something_else_is_noticed_before_gigabytes_of_it_came(tmp_path: Path) -> None:
    sent: list[int] = []

    def script(asked: Asked) -> Iterator[bytes]:
        yield answer(b"<html>" + bytes(1000), length=1 << 40)
        for _ in range(1000):
            sent.append(1)
            yield bytes(1 << 20)

    with pytest.raises(StorageError, match="no picture, video or sound"):
        served(script, tmp_path, Limits(size=1 << 41))
    assert len(sent) < 100


@pytest.mark.parametrize("status", ["500 Oops", "503 Busy", "429 Slow"])
def test_a_server_in_trouble_is_worth_trying_later(tmp_path: Path, status: str) -> None:
    with pytest.raises(StorageUnavailable, match="Try again later"):
        served(always(answer(b"", status=status)), tmp_path)


@pytest.mark.parametrize("length", [len(PICTURE), None])
def test_a_file_over_the_limit_is_refused_by_its_word_and_by_its_bytes(tmp_path: Path, length: int | None) -> None:
    chunk = f"{len(PICTURE):x}\r\n".encode() + PICTURE + b"\r\n0\r\n\r\n"
    whole = answer(PICTURE) if length else answer(chunk, content_length="", transfer_encoding="chunked")
    with pytest.raises(StorageError, match=r"larger than .* raise the limit"):
        served(always(whole), tmp_path, Limits(size=100_000))
    assert left_in(tmp_path) == []


# Cuts and silence


def test_a_cut_connection_is_continued_where_it_broke(tmp_path: Path) -> None:
    with Server(broken_off(PICTURE, 100_000)) as server:
        file = Downloader(allow_loopback=True, limits=QUICK).fetch(f"{server.url}/a.png", tmp_path)
    assert file.read_bytes() == PICTURE
    assert [asked.offset > 0 for asked in server.asked] == [False, True]
    assert server.asked[1].headers["if-range"] == '"v1"'


@pytest.mark.parametrize("honest", [True, False])
def test_a_file_that_changed_meanwhile_is_fetched_anew(tmp_path: Path, honest: bool) -> None:
    """An honest server answers If-Range with the whole file; another gives a piece of the new one."""
    new = PNG + os.urandom(300_000)

    def script(asked: Asked) -> Iterator[bytes]:
        if len(server.asked) == 1:
            yield answer(PICTURE[:100_000], length=len(PICTURE), etag='"v1"')
        elif honest or not asked.offset:
            yield answer(new, etag='"v2"')
        else:
            span = f"bytes {asked.offset}-{len(new) - 1}/{len(new)}"
            yield answer(new[asked.offset :], status="206 Partial Content", etag='"v2"', content_range=span)

    with Server(script) as server:
        file = Downloader(allow_loopback=True, limits=QUICK).fetch(f"{server.url}/a.png", tmp_path)
    assert file.read_bytes() == new


@pytest.mark.parametrize("span", ["", "bytes 99-100/101", "bytes */5", "lines 1-2/3"])
def test_a_server_that_answers_a_range_with_nonsense_is_given_up(tmp_path: Path, span: str) -> None:
    script = always(answer(PICTURE, status="206 Partial Content", content_range=span))
    with pytest.raises(StorageUnavailable):
        served(script, tmp_path)
    assert left_in(tmp_path) == []


def test_a_file_that_stays_shorter_than_promised_is_not_taken(tmp_path: Path) -> None:
    with Server(always(answer(PICTURE[:5000], length=6000))) as server:
        with pytest.raises(StorageUnavailable, match="broke off"):
            Downloader(allow_loopback=True, limits=QUICK).fetch(f"{server.url}/a.png", tmp_path)
        assert 1 < len(server.asked) < 10
    assert left_in(tmp_path) == []


def test_a_server_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    over = threading.Event()

    def script(asked: Asked) -> Iterator[bytes]:
        yield answer(PICTURE[:5000], length=len(PICTURE))
        over.wait(10)

    with pytest.raises(StorageUnavailable, match="broke off"):
        served(script, tmp_path, Limits(stall=0.1, pause=0.01))
    over.set()
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_server_that_drips_is_given_up_when_the_time_is_over(tmp_path: Path, where: str) -> None:
    def script(asked: Asked) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n" if where == "headers" else answer(PNG, length=1000)
        while True:
            time.sleep(0.02)
            yield b"x" if where == "body" else b"a: b\r\n"

    begun = time.monotonic()
    with pytest.raises(StorageUnavailable):
        served(script, tmp_path, Limits(stall=5, total=0.5, pause=0.01))
    assert time.monotonic() - begun < 3
    assert left_in(tmp_path) == []


def test_nobody_there_is_worth_trying_later(tmp_path: Path) -> None:
    with Server(always(b"")) as server:
        pass
    with pytest.raises(StorageUnavailable):
        Downloader(allow_loopback=True, limits=QUICK).fetch(f"{server.url}/a.png", tmp_path)


# Names


def test_two_files_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    with Server(always(answer(PICTURE))) as server:
        download = Downloader(allow_loopback=True)
        first, second = (download.fetch(f"{server.url}/{folder}/clip.png", tmp_path) for folder in "ab")
    assert first != second


@pytest.mark.parametrize("odd", ["..%2f..%2fevil.png", "%2e%2e", "a%00b.png", "a" * 300 + ".png", "", "%0d%0aX: y"])
def test_an_odd_name_stays_in_the_folder(tmp_path: Path, odd: str) -> None:
    with Server(always(answer(PICTURE))) as server:
        file = Downloader(allow_loopback=True, limits=QUICK).fetch(f"{server.url}/{odd}", tmp_path / "in")
    assert file.parent == tmp_path / "in"
    assert file.name.isprintable()
    assert len(file.name) <= 140
