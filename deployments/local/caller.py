"""Who is calling, by what they can prove. Nothing is believed before its signature is verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import jwt

from deployments.local.answers import InvalidToken
from deployments.local.keys import Claims, Keys


@dataclass(frozen=True, slots=True)
class Caller:
    """`role` is the database role to act as, `claims` what policies read."""

    role: str
    claims: Claims = field(default_factory=dict)
    has_token: bool = False

    @property
    def user_id(self) -> str | None:
        subject = self.claims.get("sub")
        return str(subject) if subject else None


ANONYMOUS = Caller("anon", {"role": "anon"})


def bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def identify(headers: Mapping[str, str], keys: Keys, *, apikey: str | None) -> Caller:
    """The bearer decides; an API key alone stands for its role. Raises `InvalidToken`."""
    token = bearer(headers)
    if token is None or token == apikey:
        token = apikey
    if token is None:
        return ANONYMOUS
    if token.startswith("sb_"):
        role = keys.role_of(token)
        if role is None:
            raise InvalidToken("Invalid API key")
        return Caller(role, {"iss": "supabase", "role": role}, has_token=True)
    return verified(token, keys)


def verified(token: str, keys: Keys) -> Caller:
    """Raises `InvalidToken`."""
    try:
        claims = keys.verify(token)
    except jwt.ExpiredSignatureError:
        raise InvalidToken("JWT expired", expired=True) from None
    except jwt.PyJWTError as error:
        raise InvalidToken(f"{error or type(error).__name__}") from None
    role = claims.get("role", "anon")
    if not isinstance(role, str):
        raise InvalidToken("The role claim is no text.")
    return Caller(role, claims, has_token=True)
