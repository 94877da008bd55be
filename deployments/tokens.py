"""Personal access tokens of a Supabase project: made here, kept there as a hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from blocks.queue.errors import NotAllowed
from blocks.queue.supabase_rpc import RpcTransport, can_call
from deployments.site import SupabaseSite

PREFIX = "lt_"
SCOPES = ("enqueue", "work")


def new_token() -> str:
    """`lt_` and 32 random bytes in base64url: 256 bits, which need no salt and no slow hash."""
    return PREFIX + secrets.token_urlsafe(32)


class Tokens:
    """The tokens that the key of a site may see: a user's own, or with the secret key everybody's."""

    def __init__(self, site: SupabaseSite) -> None:
        if not can_call(site.access):
            raise NotAllowed(
                f"An access token cannot make or see tokens at {site.access.url}.",
                hint="Use the secret key, or a signed-in user's JWT.",
            )
        self._transport = RpcTransport(site.access)

    def create(
        self, label: str, *, scopes: Sequence[str] = SCOPES, days: int | None = None, user_id: str | None = None
    ) -> tuple[str, dict[str, Any]]:
        """(the token, its row). `user_id` None with the secret key: one that serves everybody. Raises `QueueError`."""
        token = new_token()
        expires = None if days is None else (datetime.now(UTC) + timedelta(days=days)).isoformat()
        arguments = {
            "p_hash": hashlib.sha256(token.encode()).hexdigest(),
            "p_label": label,
            "p_prefix": token[: len(PREFIX) + 4],
            "p_scopes": list(scopes),
            "p_expires_at": expires,
            "p_user_id": user_id,
        }
        return token, self._transport.call("create_token", arguments)

    def list(self) -> list[dict[str, Any]]:
        """Newest first, the revoked ones too."""
        rows: list[dict[str, Any]] = self._transport.call("list_tokens", {})
        return rows

    def revoke(self, token_id: str) -> dict[str, Any]:
        """At once and for good. Raises `UnknownTask` for one that is not there, or not yours."""
        row: dict[str, Any] = self._transport.call("revoke_token", {"p_id": token_id})
        return row

    def close(self) -> None:
        self._transport.close()
