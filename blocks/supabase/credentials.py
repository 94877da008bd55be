"""The Supabase project as a Prefect block: the only place where its keys are stored."""

from __future__ import annotations

import logging
from typing import Any

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr

from blocks.supabase.access import DEFAULT_BUCKET, SupabaseAccess
from blocks.supabase.key import KeyKind

log = logging.getLogger(__name__)
_NONE = SecretStr("")


class SupabaseCredentials(Block):
    """A Supabase project and the key to it. Whoever can reach the Prefect API can read it."""

    _block_type_name = "Longtake Supabase credentials"
    _block_type_slug = "longtake-supabase-credentials"

    model_config = ConfigDict(hide_input_in_errors=True)  # pydantic would print the key that it refuses

    url: str = Field(description="The project's url, https://<ref>.supabase.co; plain http on this machine only.")
    key: SecretStr = Field(
        description="A secret key (sb_secret_…), a legacy service_role key, a signed-in user's JWT, or an access token "
        "(lt_…) made with `longtake token create`. Publishable and anon keys are refused."
    )
    refresh_token: SecretStr = Field(
        default=_NONE, description="Renews a user's JWT. Good for one process; leave it empty for all other keys."
    )
    publishable_key: SecretStr = Field(
        default=_NONE, description="The sb_publishable_… (or anon) key, sent beside a user's JWT to name the project."
    )
    bucket: str = Field(default=DEFAULT_BUCKET, description="The Storage bucket of inputs and outputs.")

    _access: SupabaseAccess | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        self._access = self._opened()

    @property
    def kind(self) -> KeyKind:
        return self.access().kind

    def access(self) -> SupabaseAccess:
        """The session of this block: the same object every time, since it renews itself."""
        if self._access is None:
            self._access = self._opened()
        return self._access

    def token(self) -> str:
        """The key, a JWT renewed when it is about to run out. Raises `KeyExpired`, `SupabaseUnavailable`."""
        return self.access().token()

    def _opened(self) -> SupabaseAccess:
        return SupabaseAccess(
            self.url,
            self.key.get_secret_value(),
            self.refresh_token.get_secret_value(),
            self.publishable_key.get_secret_value(),
            self.bucket,
            on_refresh=self._keep,
        )

    def _keep(self, key: str, refresh_token: str) -> None:
        """Store renewed tokens where the old ones were: the old refresh token opens nothing any more."""
        self.key, self.refresh_token = SecretStr(key), SecretStr(refresh_token)
        if self._block_document_name is None:
            return
        try:
            self.save(self._block_document_name, overwrite=True)
        except Exception as error:  # noqa: BLE001 (Prefect raises of many kinds; the session goes on without it)
            log.warning("supabase_session_not_kept block=%s error=%s", self._block_document_name, type(error).__name__)
