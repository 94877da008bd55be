"""One ASGI application with the paths of a hosted project."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.local.answers import InvalidToken, Refused, not_emulated
from deployments.local.caller import identify
from deployments.local.database import Database
from deployments.local.functions.proxy import FunctionProxy
from deployments.local.keys import Keys
from deployments.local.rest.errors import invalid_token
from deployments.local.rest.service import Rest

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_CORS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "Content-Range, Location, Upload-Offset, Upload-Length, Tus-Resumable",
}


class Gateway:
    """`others` are the routes of Storage and Auth; `databases` are opened and closed with the application."""

    def __init__(
        self, keys: Keys, rest: Rest, functions: FunctionProxy, others: Sequence[Route], databases: Sequence[Database]
    ) -> None:
        self._keys = keys
        self._rest = rest
        self._functions = functions
        self._others = others
        self._databases = databases

    def app(self) -> ASGIApp:
        routes = [
            Route("/rest/v1/{path:path}", self._answer_rest, methods=METHODS),
            Route("/functions/v1/{path:path}", self._functions.answer, methods=METHODS),
            *self._others,
            Route("/{path:path}", not_emulated, methods=METHODS),
        ]
        handlers = {Refused: _tell_refusal, ClientDisconnect: _tell_nobody}
        return _Cors(Starlette(routes=routes, lifespan=self._lifespan, exception_handlers=handlers))

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as running:
            running.push_async_callback(self._functions.close)
            for database in self._databases:
                await database.open()
                running.push_async_callback(database.close)
            await self._rest.start()
            running.push_async_callback(self._rest.stop)
            yield

    async def _answer_rest(self, request: Request) -> Response:
        apikey = known_apikey(request, self._keys)
        try:
            caller = identify(request.headers, self._keys, apikey=apikey)
        except InvalidToken as error:
            raise invalid_token(error) from None
        return await self._rest.answer(request, caller)


def known_apikey(request: Request, keys: Keys) -> str:
    """As at a hosted project's gateway: REST and Auth want one of the API keys beside any bearer. Raises `Refused`."""
    apikey = request.headers.get("apikey") or request.query_params.get("apikey")
    if not apikey:
        hint = "No `apikey` request header or url param was found."
        raise Refused(401, {"message": "No API key found in request", "hint": hint})
    if not keys.role_of(apikey):
        hint = "Give one of the keys that `longtake supabase status` shows; each start makes new ones."
        raise Refused(401, {"message": "Invalid API key", "hint": hint})
    return apikey


async def _tell_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response(request)


async def _tell_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)


class _Cors:
    """Browsers may call everything but functions, which answer for themselves."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/functions/"):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            await _preflight(request)(scope, receive, send)
            return

        async def send_with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in _CORS.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, send_with_cors)


def _preflight(request: Request) -> Response:
    headers = {
        **_CORS,
        "access-control-allow-methods": ", ".join(METHODS),
        "access-control-allow-headers": request.headers.get("access-control-request-headers", "*"),
        "access-control-max-age": "3600",
    }
    return Response(status_code=204, headers=headers)
