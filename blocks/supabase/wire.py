"""HTTP with patience: retries with jittered backoff, bounded in time, without a word about secrets."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from blocks.supabase.errors import SupabaseRefused, SupabaseUnavailable
from blocks.supabase.redact import quiet_httpx, redact

log = logging.getLogger(__name__)
R = TypeVar("R")

Content = bytes | Callable[[], Iterable[bytes]]

#: Statuses that mean "later". 408 to 425: a resumable upload that stalled or is still locked by the call that was cut.
#: 520 to 530: the proxy in front of a hosted project. 544 and 546: Storage's database and an edge function's limits.
_LATER = {408, 423, 425, 429, 500, 502, 503, 504, *range(520, 528), 530, 544, 546}
#: No server of ours means a longer wait than this; a wrong date must not park a worker for a day.
_LONGEST_PAUSE = 60.0
#: The largest honest answer is a list of tasks with full params: 50 of 256 KB.
_LARGEST_ANSWER = 64 << 20
_MOST_TRIES = 12


@dataclass(frozen=True, slots=True)
class Answer:
    """A call that went well. `body` is parsed JSON, the text if it was none, or None if it was empty."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may take. Seconds; `total` includes all retries and pauses between them.

    `only_busy`: the caller knows another way, so only a server that is up and asks us to wait is tried again.
    """

    total: float = 60.0
    connect: float = 10.0
    read: float = 60.0
    only_busy: bool = False
    sleep: Callable[[float], None] = time.sleep

    def timeout(self, deadline: float) -> httpx.Timeout:
        left = max(deadline - time.monotonic(), 1.0)
        return httpx.Timeout(min(self.read, left), connect=min(self.connect, left))


@dataclass(frozen=True, slots=True)
class Call:
    """One call, sent as often as it takes. `headers` is asked again for every try, since a token may be renewed.

    `idempotent`: sending it twice does no harm, so it may be sent again after an answer was lost.
    """

    method: str
    path: str
    headers: Callable[[], Mapping[str, str]]
    content: Content | None = None
    json: Any = None
    idempotent: bool = True
    request_id: str = ""

    @property
    def named(self) -> str:
        return f"{self.method} {self.path.split('?', 1)[0]}"


class Wire:
    """Connections to one project. Safe to share between threads; follows no redirect and heeds no proxy variable."""

    def __init__(
        self,
        url: str,
        *,
        patience: Patience | None = None,
        secrets: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        quiet_httpx()
        self.url = url
        self.patience = patience or Patience()
        self._secrets = secrets
        self._client = httpx.Client(trust_env=False, follow_redirects=False)

    def call(self, call: Call) -> Answer:
        """Raises `SupabaseUnavailable`, `SupabaseRefused`."""
        request_id = call.request_id or uuid.uuid4().hex

        def once(deadline: float) -> Answer:
            with self._answered(call, request_id, deadline) as response:
                body = self._read(response, call, deadline)
                self.refuse(response, body, call, request_id)
                return Answer(response.status_code, _parsed(body), response.headers)

        return self.patiently(once, call, request_id)

    @contextlib.contextmanager
    def stream(self, call: Call, *, stall: float) -> Iterator[httpx.Response]:
        """The open answer of a GET, to be read by `iter_raw`; a cut while reading is the reader's (`httpx` errors)."""
        request_id = call.request_id or uuid.uuid4().hex

        def once(deadline: float) -> contextlib.ExitStack:
            with contextlib.ExitStack() as stack:
                response = stack.enter_context(self._answered(call, request_id, deadline, stall))
                if not response.is_success:
                    self.refuse(response, self._read(response, call, deadline), call, request_id)
                opened.append(response)
                return stack.pop_all()

        opened: list[httpx.Response] = []
        with self.patiently(once, call, request_id):
            yield opened[-1]

    def close(self) -> None:
        self._client.close()

    def redact(self, text: str) -> str:
        return redact(text, self._secrets())

    def patiently(self, once: Callable[[float], R], call: Call, request_id: str) -> R:
        """Do `once(deadline)` as often as it takes and `call` allows; it raises like `call`."""

        def worth_it(error: BaseException) -> bool:
            if not isinstance(error, SupabaseUnavailable):
                return False
            return error.busy if self.patience.only_busy else call.idempotent or not error.maybe_done

        def note(state: RetryCallState) -> None:
            log.info("supabase_retry call=%s try=%d request_id=%s", call.named, state.attempt_number, request_id)

        retrying = Retrying(
            retry=retry_if_exception(worth_it),
            wait=_pause,
            stop=stop_before_delay(self.patience.total) | stop_after_attempt(_MOST_TRIES),
            sleep=self.patience.sleep,
            before_sleep=note,
            reraise=True,
        )
        return retrying(once, time.monotonic() + self.patience.total)

    @contextlib.contextmanager
    def _answered(
        self, call: Call, request_id: str, deadline: float, stall: float | None = None
    ) -> Iterator[httpx.Response]:
        content = call.content() if callable(call.content) else call.content
        timeout = self.patience.timeout(deadline)
        request = self._client.build_request(
            call.method,
            self.url + call.path,
            headers={**call.headers(), "x-request-id": request_id},
            content=content,
            json=call.json,
            timeout=timeout if stall is None else httpx.Timeout(stall, connect=timeout.connect),
        )
        with self.reaching(call):
            response = self._client.send(request, stream=True)
        try:
            yield response
        finally:
            response.close()

    @contextlib.contextmanager
    def reaching(self, call: Call) -> Iterator[None]:
        """What goes wrong inside on the way to the server is `SupabaseUnavailable`."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise self._unreachable(call, error, maybe_done=False) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise self._unreachable(call, error, maybe_done=True) from error

    def _read(self, response: httpx.Response, call: Call, deadline: float) -> bytes:
        body = bytearray()
        deadline = max(deadline, time.monotonic() + self.patience.read)  # a slow upload may have used all of it
        try:
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _LARGEST_ANSWER:
                    raise SupabaseRefused(f"{call.named} answered more than {_LARGEST_ANSWER >> 20} MiB.", status=502)
                if time.monotonic() > deadline:
                    raise SupabaseUnavailable(f"{call.named} has not finished answering in time.")
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise self._unreachable(call, error, maybe_done=True) from error
        return bytes(body)

    def refuse(self, response: httpx.Response, body: bytes, call: Call, request_id: str) -> None:
        """Raise what an answer means that is no success."""
        if response.is_success:
            return
        if response.is_redirect:
            raise SupabaseRefused(
                f"{self.url} answers {call.named} with a redirect, and a key is not sent after one.",
                hint="Give the address that it leads to as the url.",
                status=response.status_code,
            )
        told = _Told.read(body, response.status_code)
        message = self.redact(told.message) or f"HTTP {told.status}"
        if told.status in _LATER:
            busy = told.status == httpx.codes.TOO_MANY_REQUESTS
            raise SupabaseUnavailable(
                f"{call.named}: {message} (HTTP {told.status}, request {request_id}).",
                retry_after=_retry_after(response.headers.get("retry-after")),
                maybe_done=not busy,
                busy=busy,
            )
        raise SupabaseRefused(
            message,
            status=told.status,
            code=told.code,
            hint=self.redact(told.hint),
            details=told.details,
            request_id=request_id,
        )

    def _unreachable(self, call: Call, error: Exception, *, maybe_done: bool) -> SupabaseUnavailable:
        said = self.redact(str(error)) or type(error).__name__
        return SupabaseUnavailable(
            f"{self.url} does not answer {call.named}: {said}.",
            hint="Check the url and the network, or try again later.",
            maybe_done=maybe_done,
        )


@dataclass(frozen=True, slots=True)
class _Told:
    """The error in a body, in the dialects of PostgREST, Storage, Auth and edge functions."""

    status: int
    code: str
    message: str
    hint: str
    details: Any

    @staticmethod
    def read(body: bytes, status: int) -> _Told:
        said = _parsed(body)
        if not isinstance(said, dict):
            return _Told(status, "", body.decode(errors="replace").strip()[:300], "", None)
        meant = str(said.get("statusCode") or "")
        if status == httpx.codes.BAD_REQUEST and meant.isdigit():  # Storage's habit
            status = int(meant)
        code = said.get("error_code") or said.get("code") or said.get("error") or ""
        message = said.get("message") or said.get("msg") or said.get("error_description") or said.get("error") or ""
        return _Told(status, str(code), str(message)[:1000], str(said.get("hint") or ""), said.get("details"))


def _parsed(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


_backoff = wait_random_exponential(multiplier=0.25, max=8)


def _pause(state: RetryCallState) -> float:
    """Backoff, or what the server asked for; the random part keeps a crowd of workers from coming back together."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, SupabaseUnavailable) else None
    jittered = _backoff(state)
    return jittered if asked is None else asked + min(jittered, asked / 4 + random.random() / 4)  # noqa: S311 (jitter)


def _retry_after(value: str | None) -> float | None:
    """Seconds from now, of a header that holds seconds or a date."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # no date, or one without a zone
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_PAUSE)
