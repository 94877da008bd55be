from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import respx
from pydantic import SecretStr, ValidationError

from blocks.storage.block import SupabaseFileStorage
from blocks.storage.supabase import SupabaseStorage
from blocks.supabase.credentials import SupabaseCredentials
from blocks.supabase.errors import KeyExpired
from blocks.supabase.key import KeyKind
from deployments.stack.stack import Stack
from tests.blocks.supabase_keys import PUBLISHABLE, SECRET, TOKEN, URL, jwt, user_jwt

BLOCKS = [SupabaseCredentials, SupabaseFileStorage]
SECRET_NAME = re.compile(r"key|token|secret|password|auth", re.IGNORECASE)


def test_every_field_tells_the_operator_what_it_is_and_secrets_are_secret() -> None:
    for block in BLOCKS:
        for name, field in block.model_fields.items():
            assert field.description, f"{block.__name__}.{name}"
            assert not SECRET_NAME.search(name) or field.annotation is SecretStr


def test_slugs_never_change() -> None:
    slugs = [block.get_block_type_slug() for block in BLOCKS]
    assert slugs == ["longtake-supabase-credentials", "longtake-supabase-storage"]


@pytest.mark.parametrize(
    ("key", "kind"), [(SECRET, KeyKind.SECRET), (TOKEN, KeyKind.TOKEN), (user_jwt(9e9), KeyKind.USER)]
)
def test_the_block_tells_what_kind_of_key_it_holds(key: str, kind: KeyKind) -> None:
    assert SupabaseCredentials(url=URL, key=key).kind is kind


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": URL, "key": PUBLISHABLE}, "gives no right"),
        ({"url": URL, "key": jwt(role="anon", exp=9e9)}, "gives no right"),
        ({"url": "http://example.org", "key": SECRET}, "unencrypted"),
        ({"url": URL, "key": SECRET, "publishable_key": SECRET}, "must not be published"),
        ({"url": URL, "key": SECRET, "bucket": "a/b"}, "bucket's name"),
    ],
)
def test_what_cannot_be_used_is_refused_when_the_block_is_made(fields: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as refused:
        SupabaseCredentials(**fields)
    assert fields["key"][:20] not in str(refused.value)  # pydantic would show the beginning and the end of it
    assert "input_value" not in str(refused.value)


def test_no_key_is_shown_by_the_block() -> None:
    block = SupabaseCredentials(url=URL, key=SECRET, refresh_token="refresh-1")
    shown = repr(block) + str(block) + block.model_dump_json()
    assert SECRET not in shown
    assert "refresh-1" not in shown


def test_one_block_is_one_session() -> None:
    block = SupabaseCredentials(url=URL, key=SECRET)
    assert block.access() is block.access()


def test_the_token_of_an_expired_session_says_what_to_do() -> None:
    with pytest.raises(KeyExpired, match="Sign in again"):
        SupabaseCredentials(url=URL, key=user_jwt(1.0)).token()


def test_the_storage_block_opens_the_bucket_of_its_credentials(tmp_path: Path) -> None:
    credentials = SupabaseCredentials(url=URL, key=SECRET, bucket="films")
    storage = SupabaseFileStorage(credentials=credentials, allow_loopback=True).open()
    assert isinstance(storage, SupabaseStorage)
    assert storage.access.bucket == "films"


@pytest.mark.stack
def test_renewed_tokens_are_stored_where_the_old_ones_were(prefect_api: Stack) -> None:
    fresh = user_jwt(time.time() + 3600)
    saved = SupabaseCredentials(url=URL, key=user_jwt(1.0), refresh_token="refresh-1")
    saved.save("renewed", overwrite=True)
    loaded = SupabaseCredentials.load("renewed")
    with respx.mock(base_url=URL, assert_all_mocked=False) as router:
        router.post("/auth/v1/token").respond(json={"access_token": fresh, "refresh_token": "refresh-2"})
        router.route(host="127.0.0.1").pass_through()
        assert loaded.token() == fresh
    again = SupabaseCredentials.load("renewed")
    assert again.key.get_secret_value() == fresh
    assert again.refresh_token.get_secret_value() == "refresh-2"
