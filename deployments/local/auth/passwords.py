"""Passwords, hashed by scrypt: the database of the local stack has no `crypt`."""

from __future__ import annotations

import hashlib
import hmac
import secrets

#: 16 MB and some 30 ms for each try.
_COST = {"n": 2**14, "r": 8, "p": 1}
_MARK = "$scrypt$"


def hashed(password: str) -> str:
    salt = secrets.token_bytes(16)
    return f"{_MARK}{salt.hex()}${_digest(password, salt)}"


def matches(password: str, stored: str | None) -> bool:
    """False for what another program hashed, such as `crypt` in a seed."""
    if not stored or not stored.startswith(_MARK):
        return False
    salt, _, digest = stored.removeprefix(_MARK).partition("$")
    return hmac.compare_digest(_digest(password, bytes.fromhex(salt)), digest)


def _digest(password: str, salt: bytes) -> str:
    return hashlib.scrypt(password.encode(), salt=salt, **_COST).hex()
