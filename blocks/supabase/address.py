"""Which addresses a key may be sent to."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from blocks.supabase.errors import InvalidCredentials


def is_loopback_name(host: str) -> bool:
    """Whether `host`, as written, is this machine. A name that only resolves to it does not count."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def checked_url(url: str) -> str:
    """The project's url without a trailing slash. Raises `InvalidCredentials`: https is demanded except on loopback."""
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise InvalidCredentials(
            "The Supabase url is none.",
            hint="It looks like https://abcdefghijkl.supabase.co; copy it from the project.",
        )
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise InvalidCredentials(
            "The Supabase url carries more than an address.",
            hint="Give scheme, host and port; the key has its own field.",
        )
    if parts.scheme == "http" and not is_loopback_name(host):
        raise InvalidCredentials(
            f"http://{host} would send the key unencrypted.",
            hint="Use https. Plain http is allowed for a stack on this machine only (127.0.0.1, localhost).",
        )
    return url.strip().rstrip("/")
