"""`/functions/v1`: hands a request to the Deno process and its answer back."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from deployments.local.answers import InvalidToken, Refused
from deployments.local.caller import bearer, verified
from deployments.local.keys import Keys

#: The project's own limit; a body is read whole before it is handed on.
BODY_LIMIT = 32_000_000
#: They belong to one connection, or are made anew.
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "content-length",
        "host",
        "date",
        "server",
    )
)


class FunctionProxy:
    """`served` names the functions, and whether the gateway demands a valid JWT for each."""

    def __init__(self, url: str, served: Mapping[str, bool], keys: Keys) -> None:
        self._served = served
        self._keys = keys
        # trust_env=False: a proxy setting must not carry calls to this machine away
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
        self._http = httpx.AsyncClient(base_url=url, timeout=160, limits=limits, trust_env=False)

    async def close(self) -> None:
        await self._http.aclose()

    async def answer(self, request: Request) -> Response:
        name = request.path_params["path"].split("/")[0]
        if name not in self._served:
            raise _refusal(404, "NOT_FOUND", "Requested function was not found")
        if self._served[name] and request.method != "OPTIONS":
            self._demand_token(request)
        body = await _bounded_body(request)
        try:
            return await self._forward(request, body)
        except httpx.HTTPError:
            message = "The functions' process does not answer; its log says why."
            raise _refusal(503, "SERVICE_UNAVAILABLE", message) from None

    async def _forward(self, request: Request, body: bytes) -> Response:
        sender = request.client.host if request.client else "127.0.0.1"
        came_by = [value for value in (request.headers.get("x-forwarded-for"), sender) if value]
        headers = [(name, value) for name, value in request.headers.raw if name.decode().lower() not in _HOP_BY_HOP]
        headers = [(name, value) for name, value in headers if name.lower() != b"x-forwarded-for"]
        headers.append((b"x-forwarded-for", ", ".join(came_by).encode("latin-1")))
        target = "/" + request.scope["raw_path"].decode("latin-1").removeprefix("/functions/v1/")
        if request.url.query:
            target += f"?{request.url.query}"
        asked = self._http.build_request(request.method, target, headers=headers, content=body or None)
        answered = await self._http.send(asked, stream=True)
        response = StreamingResponse(
            answered.aiter_raw(), answered.status_code, background=BackgroundTask(answered.aclose)
        )
        kept = [(name.lower(), value) for name, value in answered.headers.raw]
        response.raw_headers = [(name, value) for name, value in kept if name.decode() not in _HOP_BY_HOP]
        return response

    def _demand_token(self, request: Request) -> None:
        token = bearer(request.headers)
        if token is None:
            raise _refusal(401, "UNAUTHORIZED_NO_AUTH_HEADER", "Missing authorization header")
        try:
            verified(token, self._keys)
        except InvalidToken as error:
            message = f"Invalid JWT: {error.message}"
            raise _refusal(401, "UNAUTHORIZED_INVALID_JWT_FORMAT", message) from None


async def _bounded_body(request: Request) -> bytes:
    """Refused as early as it can be."""
    too_large = _refusal(413, "PAYLOAD_TOO_LARGE", f"A function takes bodies of up to {BODY_LIMIT // 10**6} MB.")
    if int(request.headers.get("content-length") or 0) > BODY_LIMIT:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise too_large
    return bytes(body)


def _refusal(status: int, code: str, message: str) -> Refused:
    return Refused(status, {"code": code, "message": message})
