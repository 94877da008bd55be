from __future__ import annotations

import pytest

from blocks.supabase.errors import InvalidCredentials
from blocks.supabase.key import KeyKind, expiry_of, kind_of, usable_kind
from tests.blocks.supabase_keys import PUBLISHABLE, SECRET, TOKEN, jwt, user_jwt


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (SECRET, KeyKind.SECRET),
        (PUBLISHABLE, KeyKind.PUBLISHABLE),
        (TOKEN, KeyKind.TOKEN),
        (jwt(role="service_role", exp=9e9), KeyKind.SERVICE_ROLE),
        (jwt(role="anon", exp=9e9), KeyKind.ANON),
        (user_jwt(9e9), KeyKind.USER),
    ],
)
def test_a_key_says_of_what_kind_it_is(key: str, kind: KeyKind) -> None:
    assert kind_of(key) is kind


def test_only_secret_and_service_role_keys_may_do_everything() -> None:
    assert [kind for kind in KeyKind if kind.is_service] == [KeyKind.SECRET, KeyKind.SERVICE_ROLE]


@pytest.mark.parametrize("key", [PUBLISHABLE, jwt(role="anon", exp=9e9)])
def test_a_key_for_the_public_is_refused_with_what_to_take_instead(key: str) -> None:
    with pytest.raises(InvalidCredentials, match=r"gives no right.*longtake token create") as refused:
        usable_kind(key)
    assert key not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "none that Longtake knows"),
        ("password123", "none that Longtake knows"),
        ("a.b.c", "none that Longtake knows"),
        (jwt(role="authenticated"), "none that Longtake knows"),  # a user's, without a user
        (jwt(exp=9e9), "none that Longtake knows"),
        (TOKEN[:-1], "cut off"),
        ("sbp_" + "a" * 40, "administers projects"),
    ],
)
def test_what_is_no_key_is_refused_without_repeating_it(key: str, said: str) -> None:
    with pytest.raises(InvalidCredentials, match=said) as refused:
        kind_of(key)
    assert not key or key not in str(refused.value)


def test_a_jwt_tells_when_it_runs_out_and_other_keys_last() -> None:
    assert expiry_of(user_jwt(1_700_000_000)) == 1_700_000_000
    assert expiry_of(SECRET) is expiry_of(TOKEN) is expiry_of(jwt(role="anon")) is None


@pytest.mark.parametrize("odd", ["..", "a.!!!.c", f"a.{'W10' * 3}.c", jwt(exp="soon"), jwt(exp=True), jwt(exp=None)])
def test_an_odd_jwt_has_no_expiry(odd: str) -> None:
    assert expiry_of(odd) is None
