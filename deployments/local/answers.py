"""What all faces of the HTTP service share: refusals that know their answer, and routes by method."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Handler = Callable[[Request], Awaitable[Response]]


class Refused(Exception):
    """The application answers with `body`, wherever this is raised."""

    def __init__(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = dict(body)
        self.headers = dict(headers or {})

    def response(self, _request: Request) -> Response:
        return JSONResponse(self.body, self.status, self.headers)


class NotEmulated(Refused):
    """A hosted project could do this, the local stack cannot: an error, never a plausible success.

    One body has the fields that the readers of REST, Storage and Auth errors look for.
    """

    def __init__(self, what: str) -> None:
        message = f"{what} is not emulated by Longtake's local stack."
        body = {
            **{"code": "not_emulated", "error_code": "not_emulated", "statusCode": "501", "error": "Not Emulated"},
            **{"message": message, "msg": message, "details": None, "hint": "Test it against a hosted project."},
        }
        super().__init__(501, body)


async def not_emulated(request: Request) -> Response:
    """The handler of paths that a hosted project has."""
    raise NotEmulated(f"{request.method} {request.url.path}")


class InvalidToken(Exception):
    """A key or token that proves nothing. Each face tells it in its own form."""

    def __init__(self, message: str, *, expired: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.expired = expired


def route(path: str, handlers: Mapping[str, Handler]) -> Route:
    """One handler for each method; GET answers HEAD as well."""

    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" and "HEAD" not in handlers else request.method
        return await handlers[method](request)

    return Route(path, endpoint, methods=list(handlers))
