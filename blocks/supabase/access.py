"""Where a Supabase project is, and the right to use it: what queue and storage backends take."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from blocks.supabase.address import checked_url
from blocks.supabase.errors import InvalidCredentials, KeyExpired, SupabaseRefused, SupabaseUnavailable
from blocks.supabase.key import KeyKind, expiry_of, kind_of, usable_kind
from blocks.supabase.wire import Call, Patience, Wire

log = logging.getLogger(__name__)

DEFAULT_BUCKET = "image_uploads"
#: A JWT is renewed this long before it runs out, so that a call under way does not outlive it.
_EARLY = 60.0


@dataclass(slots=True)
class SupabaseAccess:
    """One session with one project, shared by all threads of a process; it renews its own JWT.

    Raises `InvalidCredentials` for a url or a key that cannot be used. A refresh token is good for one process: each
    renewal replaces it, and `on_refresh(key, refresh_token)` is told, to keep both. Several processes, or workers that
    run for days, take a secret key or an access token instead.
    """

    url: str
    key: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    publishable_key: str = field(default="", repr=False)
    bucket: str = DEFAULT_BUCKET
    on_refresh: Callable[[str, str], None] | None = field(default=None, repr=False, compare=False)
    clock: Callable[[], float] = field(default=time.time, repr=False, compare=False)
    patience: Patience = field(default=Patience(total=20.0), repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.url = checked_url(self.url)
        self.key, self.refresh_token, self.publishable_key = (
            _clean(name, value)
            for name, value in [
                ("key", self.key),
                ("refresh token", self.refresh_token),
                ("publishable key", self.publishable_key),
            ]
        )
        usable_kind(self.key)
        if self.publishable_key and kind_of(self.publishable_key) not in (KeyKind.PUBLISHABLE, KeyKind.ANON):
            raise InvalidCredentials(
                "publishable_key holds a key that must not be published.",
                hint="It takes the sb_publishable_… key (or the anon key); the other one belongs into the field key.",
            )
        if not re.fullmatch(r"[\w.-]{1,100}", self.bucket, re.ASCII):
            raise InvalidCredentials(
                "The bucket's name is none.", hint="Letters, digits, dot, dash and underscore, as the project shows it."
            )

    @property
    def kind(self) -> KeyKind:
        return kind_of(self.key)

    def secrets(self) -> tuple[str, ...]:
        """What must stand in no text."""
        return self.key, self.refresh_token

    def token(self, *, unless: str | None = None) -> str:
        """The key; a JWT is renewed when about to run out, or when it is still the one that was refused (`unless`).

        Raises `KeyExpired` if it has run out and cannot be renewed, `SupabaseUnavailable` if nobody answers.
        """
        with self._lock:  # one renewal for all threads: a refresh token is good once
            expires = expiry_of(self.key)
            left = float("inf") if expires is None else expires - self.clock()
            refused = unless is not None and unless == self.key
            if left > _EARLY and not refused:
                return self.key
            if not self.refresh_token:
                if left > 0 and not refused:
                    return self.key
                raise KeyExpired(
                    f"The {self.kind.replace('_', ' ')} JWT for {self.url} has expired, and there is no refresh token.",
                    hint="Sign in again and store the new tokens, or take a secret key or an access token (lt_…).",
                )
            try:
                self._refresh()
            except SupabaseUnavailable:
                if left <= 0 or refused:
                    raise
                log.warning("supabase_refresh_postponed url=%s seconds_left=%d", self.url, left)
            return self.key

    def headers(self) -> dict[str, str]:
        """What authorises a call, the token fresh. Raises like `token`."""
        token = self.token()
        bearer = {"authorization": f"Bearer {token}"}
        if self.kind is KeyKind.TOKEN:
            return bearer
        if self.kind is KeyKind.SECRET:
            return {"apikey": token, **bearer}  # a secret key is accepted as a bearer only when both are equal
        return {"apikey": self.publishable_key or token, **bearer}

    def public_headers(self) -> dict[str, str]:
        """What a call without authority carries: the project's name."""
        return {"apikey": self.publishable_key} if self.publishable_key else {}

    def _refresh(self) -> None:
        wire = Wire(self.url, patience=self.patience, secrets=self.secrets)
        call = Call(
            "POST",
            "/auth/v1/token?grant_type=refresh_token",
            lambda: {"apikey": self.publishable_key or self.key},
            json={"refresh_token": self.refresh_token},
        )
        try:
            session = wire.call(call).body
        except SupabaseRefused as error:
            raise KeyExpired(
                f"The session at {self.url} is over: {error.message}.",
                hint="Sign in again and store the new tokens. If several processes share one session, give each an "
                "access token (lt_…) or the secret key instead: a refresh token is good once.",
            ) from error
        finally:
            wire.close()
        match session:
            case {"access_token": str(key), "refresh_token": str(refresh_token)} if kind_of(key) is KeyKind.USER:
                self.key, self.refresh_token = key, refresh_token
            case _:
                raise KeyExpired(f"{self.url} answered the renewal without a session.", hint="Sign in again.")
        log.info("supabase_session_renewed url=%s", self.url)
        if self.on_refresh:
            self.on_refresh(self.key, self.refresh_token)

    def address(self) -> Mapping[str, str]:
        """How another process gets the same access (`SupabaseAccess(**address)`). Carries the secrets."""
        names = ("url", "key", "refresh_token", "publishable_key", "bucket")
        return {name: getattr(self, name) for name in names}

    def __deepcopy__(self, memo: object) -> SupabaseAccess:
        return self  # two copies would spend one refresh token twice

    def __reduce__(self) -> tuple[type[SupabaseAccess], tuple[str, ...]]:
        return SupabaseAccess, tuple(self.address().values())


def _clean(name: str, value: str) -> str:
    """A key as it goes into a header. A line end from copying is dropped; anything else odd is refused unrepeated."""
    value = value.strip()
    if not re.fullmatch(r"[!-~]*", value):
        raise InvalidCredentials(f"The {name} has spaces or odd characters in it.", hint="Copy it again, in one line.")
    return value
