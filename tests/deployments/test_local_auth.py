"""Users, through supabase-py."""

from __future__ import annotations

import uuid

import httpx
import jwt
import pytest
from supabase import Client, create_client
from supabase_auth.errors import AuthApiError

from deployments.local.stack import LocalSupabase
from tests.supabase_stack import small_supabase as small_supabase

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]

PASSWORD = "a password"


@pytest.fixture
def admin(small_supabase: LocalSupabase) -> Client:
    return create_client(small_supabase.url, small_supabase.secret_key)


@pytest.fixture
def anyone(small_supabase: LocalSupabase) -> Client:
    return create_client(small_supabase.url, small_supabase.publishable_key)


@pytest.fixture
def email() -> str:
    return f"{uuid.uuid4()}@example.com"


def test_an_admin_creates_finds_lists_and_deletes_a_user(admin: Client, email: str) -> None:
    made = admin.auth.admin.create_user({"email": email, "user_metadata": {"name": "A"}, "email_confirm": True}).user
    assert admin.auth.admin.get_user_by_id(made.id).user.user_metadata == {"name": "A"}
    assert made.id in [user.id for user in admin.auth.admin.list_users(per_page=1000)]
    admin.auth.admin.delete_user(made.id)
    with pytest.raises(AuthApiError, match="User not found"):
        admin.auth.admin.get_user_by_id(made.id)


def test_nobody_else_is_an_admin(anyone: Client, email: str) -> None:
    anyone.auth.sign_up({"email": email, "password": PASSWORD})
    with pytest.raises(AuthApiError) as refused:
        anyone.auth.admin.list_users()
    assert refused.value.code == "not_admin"


def test_who_signs_up_is_signed_in_and_known_to_policies(anyone: Client, email: str) -> None:
    user = anyone.auth.sign_up({"email": email, "password": PASSWORD}).user
    assert user is not None
    assert anyone.rpc("whoami").execute().data["uid"] == user.id
    assert anyone.table("notes").insert({"title": "first"}).execute().data[0]["user_id"] == user.id


def test_a_wrong_password_and_an_unknown_address_look_the_same(anyone: Client, admin: Client, email: str) -> None:
    admin.auth.admin.create_user({"email": email, "password": PASSWORD, "email_confirm": True})
    for address in (email, f"no-{email}"):
        with pytest.raises(AuthApiError, match="Invalid login credentials"):
            anyone.auth.sign_in_with_password({"email": address, "password": "another"})


def test_a_session_is_refreshed_once(anyone: Client, email: str) -> None:
    session = anyone.auth.sign_up({"email": email, "password": PASSWORD}).session
    assert session is not None
    assert anyone.auth.refresh_session(session.refresh_token).session is not None
    with pytest.raises(AuthApiError, match="Refresh Token"):
        anyone.auth.refresh_session(session.refresh_token)


def test_a_session_ends_with_a_logout(anyone: Client, email: str) -> None:
    session = anyone.auth.sign_up({"email": email, "password": PASSWORD}).session
    assert session is not None
    assert anyone.auth.get_user(session.access_token) is not None
    anyone.auth.sign_out()
    with pytest.raises(AuthApiError) as refused:
        anyone.auth.get_user(session.access_token)
    assert refused.value.code == "session_not_found"


def test_claims_are_verified_by_the_published_key(anyone: Client, email: str) -> None:
    session = anyone.auth.sign_up({"email": email, "password": PASSWORD}).session
    assert session is not None
    claims = anyone.auth.get_claims(session.access_token)
    assert claims is not None
    assert claims["claims"]["email"] == email
    assert jwt.get_unverified_header(session.access_token)["alg"] == "ES256"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"email": "seed@example.com", "password": PASSWORD}, "email_exists"),
        ({"email": "a@example.com", "password": "short"}, "weak_password"),
        ({"email": "nowhere", "password": PASSWORD}, "validation_failed"),
        ({"email": 7, "password": PASSWORD}, "validation_failed"),
        ({"email": "a\0@example.com", "password": PASSWORD}, "validation_failed"),
        ({"phone": "123", "password": PASSWORD}, "not_emulated"),
    ],
)
def test_who_cannot_sign_up_is_told_why(small_supabase: LocalSupabase, said: dict[str, object], code: str) -> None:
    headers = {"apikey": small_supabase.publishable_key}
    answer = httpx.post(f"{small_supabase.url}/auth/v1/signup", json=said, headers=headers)
    assert (answer.is_error, answer.json()["error_code"]) == (True, code)


def test_one_may_not_say_of_oneself_what_only_an_admin_may(small_supabase: LocalSupabase, email: str) -> None:
    said = {"email": email, "password": PASSWORD, "app_metadata": {"admin": True}, "id": str(uuid.UUID(int=7))}
    headers = {"apikey": small_supabase.publishable_key}
    user = httpx.post(f"{small_supabase.url}/auth/v1/signup", json=said, headers=headers).json()["user"]
    assert "admin" not in user["app_metadata"]
    assert user["id"] != said["id"]


def test_what_is_not_emulated_is_an_error(small_supabase: LocalSupabase) -> None:
    headers = {"apikey": small_supabase.publishable_key}
    for path in ("otp", "recover", "token?grant_type=id_token", "verify", "factors", "admin/generate_link"):
        answer = httpx.post(f"{small_supabase.url}/auth/v1/{path}", json={}, headers=headers)
        assert (answer.status_code, answer.json()["error_code"]) == (501, "not_emulated")


def test_the_helpers_make_a_user_and_sign_in(small_supabase: LocalSupabase, email: str) -> None:
    uid = small_supabase.create_user(email, PASSWORD)
    token = small_supabase.sign_in(email, PASSWORD)
    assert jwt.decode(token, options={"verify_signature": False})["sub"] == uid
