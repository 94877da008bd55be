"""The client that queue and storage backends share: calls under one access."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import httpx

from blocks.supabase.access import SupabaseAccess
from blocks.supabase.errors import SupabaseRefused
from blocks.supabase.wire import Answer, Call, Content, Patience, Wire

R = TypeVar("R")


class SupabaseClient:
    """Safe to share between threads. Every call may raise `SupabaseUnavailable`, `SupabaseRefused` and `KeyExpired`."""

    def __init__(
        self,
        access: SupabaseAccess,
        *,
        patience: Patience | None = None,
    ) -> None:
        self.access = access
        self._wire = Wire(access.url, patience=patience, secrets=access.secrets)

    @property
    def patience(self) -> Patience:
        return self._wire.patience

    def post_json(self, path: str, body: Any, *, idempotent: bool, request_id: str | None = None) -> Answer:
        """POST `body` as JSON, with our authority.

        Retried while it could not be sent or was told 429; after a lost or 5xx answer only if `idempotent`.
        """
        return self.request("POST", path, json=body, idempotent=idempotent, request_id=request_id)

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
        json: Any = None,
        idempotent: bool = True,
        public: bool = False,
        request_id: str | None = None,
    ) -> Answer:
        """Any other call. `public` sends no authority; `content` may be a function that gives the pieces anew."""

        def call(authority: Callable[[], Mapping[str, str]]) -> Answer:
            both = Call(
                method, path, lambda: {**authority(), **(headers or {})}, content, json, idempotent, request_id or ""
            )
            return self._wire.call(both)

        return self._authorised(call, public=public)

    @contextlib.contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str], stall: float, public: bool = False
    ) -> Iterator[httpx.Response]:
        """The open answer of a GET, opened with retries. A cut while reading raises `httpx.TransportError`."""

        def call(authority: Callable[[], Mapping[str, str]]) -> contextlib.ExitStack:
            with contextlib.ExitStack() as stack:
                opening = self._wire.stream(Call("GET", path, lambda: {**authority(), **headers}), stall=stall)
                opened.append(stack.enter_context(opening))
                return stack.pop_all()

        opened: list[httpx.Response] = []
        with self._authorised(call, public=public):
            yield opened[-1]

    def through(self, call: Call, send: Callable[[], R]) -> R:
        """`call` sent by another client: tried again like ours, and with our errors.

        `send` takes its authority from `access.headers()`, and shows every answer to `judge`.
        """

        def reached(_deadline: float) -> R:
            with self._wire.reaching(call):
                return send()

        return self._authorised(lambda _: self._wire.patiently(reached, call, call.request_id), public=False)

    def judge(self, response: httpx.Response) -> None:
        """Raise what another client's answer means, if it is no success."""
        if response.is_success:
            return
        sent = response.request
        call = Call(sent.method, sent.url.path, dict)
        self._wire.refuse(response, response.read(), call, sent.headers.get("x-request-id", ""))

    def redact(self, text: str) -> str:
        return self._wire.redact(text)

    def close(self) -> None:
        self._wire.close()

    def _authorised(self, call: Callable[[Callable[[], Mapping[str, str]]], R], *, public: bool) -> R:
        if public:
            return call(self.access.public_headers)
        sent = self.access.token()
        try:
            return call(self.access.headers)
        except SupabaseRefused as error:
            if not (self.access.refresh_token and _says_expired(error)):
                raise
            self.access.token(unless=sent)
            return call(self.access.headers)


def _says_expired(error: SupabaseRefused) -> bool:
    """Whether the server's clock may be ahead of ours. Storage says 403 and speaks of the "exp" claim or the jwt."""
    return error.status == 401 or (error.status == 403 and any(word in error.message for word in ('"exp"', "jwt")))
