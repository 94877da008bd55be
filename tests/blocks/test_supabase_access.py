from __future__ import annotations

import copy
import json
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import respx

from blocks.supabase.access import SupabaseAccess
from blocks.supabase.errors import InvalidCredentials, KeyExpired, SupabaseUnavailable
from blocks.supabase.wire import Patience
from tests.blocks.supabase_keys import PUBLISHABLE, SECRET, TOKEN, URL, jwt, user_jwt

NOW = 1_800_000_000.0


def user_access(left: float, *, refresh_token: str = "refresh-1", **more: object) -> SupabaseAccess:
    return SupabaseAccess(URL, user_jwt(NOW + left), refresh_token, PUBLISHABLE, clock=lambda: NOW, **more)  # type: ignore[arg-type]


@pytest.fixture
def auth() -> Iterator[respx.Route]:
    with respx.mock(base_url=URL, assert_all_called=False) as router:
        session = {"access_token": user_jwt(NOW + 3600), "refresh_token": "refresh-2"}
        yield router.post("/auth/v1/token", params={"grant_type": "refresh_token"}).respond(json=session)


@pytest.mark.parametrize("url", ["http://abcdefgh.supabase.co", "http://10.0.0.5:8000", "http://127.0.0.1.example.org"])
def test_plain_http_is_refused_off_this_machine(url: str) -> None:
    with pytest.raises(InvalidCredentials, match=r"unencrypted.*https"):
        SupabaseAccess(url, SECRET)


@pytest.mark.parametrize("url", ["http://127.0.0.1:54321/", "http://localhost:54321", "http://[::1]:54321", URL])
def test_https_and_this_machine_are_accepted(url: str) -> None:
    assert SupabaseAccess(url, SECRET).url == url.rstrip("/")


@pytest.mark.parametrize(
    "url", ["", "abcdefgh.supabase.co", "ftp://x.org", "https://", "https://u:p@x.org", f"{URL}?a=1", "https://x:y"]
)
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidCredentials):
        SupabaseAccess(url, SECRET)


@pytest.mark.parametrize("bad", ["sb_secret_ with space", "sb_secret_a\nb", "sb_secret_ü", ""])
def test_a_damaged_key_is_refused_without_repeating_it(bad: str) -> None:
    with pytest.raises(InvalidCredentials) as refused:
        SupabaseAccess(URL, bad)
    assert not bad or bad not in str(refused.value)


def test_a_line_end_from_copying_is_dropped() -> None:
    assert SupabaseAccess(URL, SECRET + "\n").key == SECRET


def test_a_secret_key_in_the_field_of_the_publishable_one_is_refused() -> None:
    with pytest.raises(InvalidCredentials, match="must not be published"):
        SupabaseAccess(URL, SECRET, publishable_key=SECRET)


def test_no_key_is_shown_in_its_repr() -> None:
    shown = repr(SupabaseAccess(URL, SECRET, "refresh-1", PUBLISHABLE))
    assert SECRET not in shown
    assert "refresh-1" not in shown


def test_each_kind_of_key_goes_into_the_headers_that_the_server_reads() -> None:
    service, user = jwt(role="service_role", exp=9e9), user_jwt(9e9)
    assert SupabaseAccess(URL, SECRET).headers() == {"apikey": SECRET, "authorization": f"Bearer {SECRET}"}
    assert SupabaseAccess(URL, service).headers() == {"apikey": service, "authorization": f"Bearer {service}"}
    assert SupabaseAccess(URL, user, publishable_key=PUBLISHABLE).headers()["apikey"] == PUBLISHABLE
    assert SupabaseAccess(URL, TOKEN).headers() == {"authorization": f"Bearer {TOKEN}"}


def test_a_fresh_token_is_not_renewed(auth: respx.Route) -> None:
    access = user_access(600)
    assert access.token() == user_jwt(NOW + 600)
    assert not auth.called


@pytest.mark.parametrize("left", [30, -10])
def test_a_token_about_to_run_out_is_renewed_and_the_new_refresh_token_kept(auth: respx.Route, left: float) -> None:
    kept: list[tuple[str, str]] = []
    access = user_access(left, on_refresh=lambda *tokens: kept.append(tokens))
    assert access.token() == user_jwt(NOW + 3600)
    assert access.refresh_token == "refresh-2"
    assert kept == [(user_jwt(NOW + 3600), "refresh-2")]
    assert json.loads(auth.calls[0].request.content) == {"refresh_token": "refresh-1"}
    assert auth.calls[0].request.headers["apikey"] == PUBLISHABLE


def test_many_threads_renew_once(auth: respx.Route) -> None:
    access, together = user_access(-10), threading.Barrier(8)

    def ask() -> str:
        together.wait()
        return access.token()

    with ThreadPoolExecutor(8) as pool:
        tokens = {future.result() for future in [pool.submit(ask) for _ in range(8)]}
    assert tokens == {user_jwt(NOW + 3600)}
    assert auth.call_count == 1


def test_an_expired_token_without_a_refresh_token_says_so_and_what_to_do() -> None:
    with pytest.raises(KeyExpired, match=r"user JWT.*has expired.*Sign in again"):
        user_access(-10, refresh_token="").token()


def test_a_session_that_is_over_says_so_without_its_tokens(auth: respx.Route) -> None:
    auth.respond(400, json={"error_code": "refresh_token_not_found", "msg": "Invalid Refresh Token: refresh-1"})
    with pytest.raises(KeyExpired, match=r"is over.*Sign in again") as refused:
        user_access(-10).token()
    assert "refresh-1" not in str(refused.value)


def test_while_auth_is_away_a_token_that_still_holds_is_used(auth: respx.Route) -> None:
    auth.mock(side_effect=httpx.ConnectError("away"))
    patience = Patience(sleep=lambda _: None)
    assert user_access(30, patience=patience).token() == user_jwt(NOW + 30)
    with pytest.raises(SupabaseUnavailable):
        user_access(-10, patience=patience).token()


def test_a_renewal_without_a_session_is_an_error(auth: respx.Route) -> None:
    auth.respond(json={"access_token": SECRET, "refresh_token": "r"})
    with pytest.raises(KeyExpired, match="without a session"):
        user_access(-10).token()


def test_another_process_gets_the_same_access_and_a_copy_is_the_same_session() -> None:
    access = SupabaseAccess(URL, SECRET, publishable_key=PUBLISHABLE, bucket="films")
    assert SupabaseAccess(**access.address()) == access
    assert pickle.loads(pickle.dumps(access)) == access
    assert copy.deepcopy(access) is access
