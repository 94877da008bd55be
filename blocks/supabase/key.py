"""What kind of key somebody gave us, read from the key itself.

A JWT is read without checking its signature: this decides which header a key goes into and when to refresh it, never
what anybody may do. The server decides that.
"""

from __future__ import annotations

import base64
import json
import re
from enum import StrEnum
from typing import Any

from blocks.supabase.errors import InvalidCredentials

_TOKEN = re.compile(r"lt_[A-Za-z0-9_-]{43}")
_WHERE = "Find it in the project's settings under API keys"


class KeyKind(StrEnum):
    SECRET = "secret"  # noqa: S105 (a kind, not a key)
    PUBLISHABLE = "publishable"
    SERVICE_ROLE = "service_role"
    ANON = "anon"
    USER = "user"
    TOKEN = "personal_access_token"  # noqa: S105

    @property
    def is_service(self) -> bool:
        """Sees and may do everything."""
        return self in (KeyKind.SECRET, KeyKind.SERVICE_ROLE)


def kind_of(key: str) -> KeyKind:
    """Raises `InvalidCredentials` for what is no key at all, without repeating it."""
    if key.startswith("sb_secret_"):
        return KeyKind.SECRET
    if key.startswith("sb_publishable_"):
        return KeyKind.PUBLISHABLE
    if _TOKEN.fullmatch(key):
        return KeyKind.TOKEN
    if key.startswith("lt_"):
        raise InvalidCredentials(
            "The access token is cut off or has something added: it is lt_ and 43 characters.",
            hint="Copy it again, or make a new one with `longtake token create`.",
        )
    if key.startswith("sbp_"):
        raise InvalidCredentials(
            "This is a token of your Supabase account, which administers projects and opens no project's data.",
            hint=f"Take the secret key (sb_secret_…). {_WHERE}.",
        )
    return _kind_of_jwt(key)


def usable_kind(key: str) -> KeyKind:
    """`kind_of`, refusing the keys that nobody can work with."""
    kind = kind_of(key)
    if kind in (KeyKind.PUBLISHABLE, KeyKind.ANON):
        named = "publishable key" if kind is KeyKind.PUBLISHABLE else "anon key"
        raise InvalidCredentials(
            f"The {named} names the project and gives no right to any task.",
            hint="Take a secret key (sb_secret_…), a signed-in user's JWT, or an access token (lt_…) made with "
            "`longtake token create`; the publishable key goes into the field publishable_key.",
        )
    return kind


def expiry_of(key: str) -> float | None:
    """When a JWT runs out, in seconds since 1970; None for keys that last."""
    expires = _claims(key).get("exp")
    return float(expires) if isinstance(expires, int | float) and not isinstance(expires, bool) else None


def _kind_of_jwt(key: str) -> KeyKind:
    claims = _claims(key)
    match claims.get("role"):
        case "service_role":
            return KeyKind.SERVICE_ROLE
        case "anon":
            return KeyKind.ANON
        case str() if claims.get("sub"):
            return KeyKind.USER
    raise InvalidCredentials(
        "The key is none that Longtake knows: no sb_secret_… key, no access token (lt_…), no JWT with a role.",
        hint=f"{_WHERE}, and copy all of it.",
    )


def _claims(key: str) -> dict[str, Any]:
    parts = key.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
