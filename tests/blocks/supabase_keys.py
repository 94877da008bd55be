"""Keys of every kind, none of them real."""

from __future__ import annotations

import base64
import json
from typing import Any

URL = "https://abcdefgh.supabase.co"
SECRET = "sb_secret_" + "s" * 31
PUBLISHABLE = "sb_publishable_" + "p" * 31
TOKEN = "lt_" + "t" * 43


def jwt(**claims: Any) -> str:
    """Shaped like a JWT; its signature is worth nothing, and nothing here looks at it."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}.{'x' * 43}"


def user_jwt(exp: float) -> str:
    return jwt(sub="0b5e3c1a-0000-4000-8000-000000000001", role="authenticated", exp=exp)
