"""Whom the local stack believes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from deployments.local.keys import Keys
from deployments.local.stack import LocalSupabase
from tests.supabase_stack import small_supabase as small_supabase

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]

USER = str(uuid.uuid4())
CLAIMS = {"sub": USER, "role": "service_role", "aud": "authenticated", "exp": time.time() + 600}


def whoami(stack: LocalSupabase, *, apikey: str | None, bearer: str | None = None) -> httpx.Response:
    headers = {"apikey": apikey} if apikey else {}
    if bearer:
        headers["authorization"] = f"Bearer {bearer}"
    return httpx.post(f"{stack.url}/rest/v1/rpc/whoami", headers=headers)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("publishable_key", "anon"),
        ("anon_key", "anon"),
        ("secret_key", "service_role"),
        ("service_role_key", "service_role"),
    ],
)
def test_each_key_stands_for_its_role(small_supabase: LocalSupabase, name: str, role: str) -> None:
    key = getattr(small_supabase, name)
    assert whoami(small_supabase, apikey=key).json()["role"] == role
    assert whoami(small_supabase, apikey=key, bearer=key).json()["role"] == role


def test_a_users_token_decides_over_the_api_key(small_supabase: LocalSupabase) -> None:
    answer = whoami(small_supabase, apikey=small_supabase.secret_key, bearer=small_supabase.sign_user_jwt(USER)).json()
    assert (answer["role"], answer["uid"], answer["timeout"]) == ("authenticated", USER, "8s")


def test_a_token_signed_with_the_legacy_secret_is_believed(small_supabase: LocalSupabase) -> None:
    token = jwt.encode({**CLAIMS, "role": "authenticated"}, small_supabase.jwt_secret, "HS256")
    assert whoami(small_supabase, apikey=small_supabase.publishable_key, bearer=token).json()["uid"] == USER


FORGED: dict[str, Callable[[LocalSupabase], str]] = {
    "no algorithm": lambda _: jwt.encode(CLAIMS, "", "none"),
    "another secret": lambda _: jwt.encode(CLAIMS, "x" * 40, "HS256"),
    "another key": lambda _: jwt.encode(CLAIMS, ec.generate_private_key(ec.SECP256R1()), "ES256"),
    "the public key as a secret": lambda stack: jwt.encode(CLAIMS, published_key(stack), "HS256"),
    "expired": lambda stack: stack.sign_user_jwt(USER, exp=time.time() - 1),
    "another audience": lambda stack: stack.sign_user_jwt(USER, aud="elsewhere"),
    "another start's": lambda _: Keys.make("http://127.0.0.1").sign_user(USER),
    "no token": lambda _: "not-a-token",
    "an unknown key": lambda _: "sb_secret_unknown",
    "another role's": lambda stack: stack.sign_user_jwt(USER, role="postgres"),
    "a storage url's": lambda stack: Keys.make("").sign_url({"role": "service_role"}, 60),
}


def published_key(stack: LocalSupabase) -> str:
    return str(httpx.get(f"{stack.url}/auth/v1/.well-known/jwks.json").json()["keys"][0]["x"])


@pytest.mark.parametrize("kind", FORGED)
def test_a_token_that_proves_nothing_opens_nothing(small_supabase: LocalSupabase, kind: str) -> None:
    token = FORGED[kind](small_supabase)
    answer = whoami(small_supabase, apikey=small_supabase.publishable_key, bearer=token)
    assert answer.status_code in (401, 403)
    if kind != "another role's":  # a valid signature; the database refuses the role
        assert answer.status_code == 401
    refused = httpx.get(f"{small_supabase.url}/storage/v1/bucket", headers={"authorization": f"Bearer {token}"})
    assert refused.json()["statusCode"] in ("403", "500")


@pytest.mark.parametrize("apikey", [None, "sb_secret_unknown", "eyJhbGciOiJIUzI1NiJ9.e30.x"])
def test_rest_wants_an_api_key_as_hosted_does(small_supabase: LocalSupabase, apikey: str | None) -> None:
    assert whoami(small_supabase, apikey=apikey, bearer=small_supabase.secret_key).status_code == 401


def test_the_published_key_verifies_a_users_token(small_supabase: LocalSupabase) -> None:
    keys = jwt.PyJWKClient(f"{small_supabase.url}/auth/v1/.well-known/jwks.json")
    token = small_supabase.sign_user_jwt(USER)
    claims = jwt.decode(token, keys.get_signing_key_from_jwt(token), ["ES256"], audience="authenticated")
    assert (claims["sub"], claims["iss"]) == (USER, f"{small_supabase.url}/auth/v1")


def test_keys_do_not_show_in_words() -> None:
    keys = Keys.make("http://127.0.0.1/auth/v1")
    assert not any(secret in repr(keys) for secret in (keys.secret, keys.service_role, keys.jwt_secret, "PRIVATE"))
