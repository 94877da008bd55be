"""`/auth/v1`: users by an admin, sign-up and sign-in by password, refresh, JWKS. No mail, OAuth or second factor."""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deployments.local.answers import Handler, InvalidToken, NotEmulated, route
from deployments.local.auth.users import AuthRefusal, Registration, Row, Users, shown
from deployments.local.caller import Caller, identify
from deployments.local.gateway import known_apikey
from deployments.local.keys import Keys

_SHORTEST_PASSWORD = 6
_PROVIDER = {"provider": "email", "providers": ["email"]}


class Auth:
    def __init__(self, users: Users, keys: Keys, lifetime: int) -> None:
        self.users = users
        self._keys = keys
        self._lifetime = lifetime

    def routes(self) -> list[Route]:
        routes: dict[str, dict[str, Handler]] = {
            "/.well-known/jwks.json": {"GET": self._jwks},
            "/health": {"GET": self._health},
            "/signup": {"POST": self._sign_up},
            "/token": {"POST": self._token},
            "/user": {"GET": self._user},
            "/logout": {"POST": self._log_out},
            "/admin/users": {"GET": self._list, "POST": self._create},
            "/admin/users/{user}": {"GET": self._get, "DELETE": self._delete},
        }
        return [route(f"/auth/v1{path}", handlers) for path, handlers in routes.items()]

    async def _jwks(self, _request: Request) -> Response:
        return JSONResponse(self._keys.jwks(), headers={"cache-control": "public, max-age=600"})

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"name": "GoTrue", "version": "local", "description": "Longtake's local stack"})

    async def _sign_up(self, request: Request) -> Response:
        """Addresses count as confirmed: there is no mail."""
        known_apikey(request, self._keys)
        wanted = _registration(await _body(request), confirmed=True, admin=False)
        return await self._session(await self.users.create(wanted))

    async def _token(self, request: Request) -> Response:
        known_apikey(request, self._keys)
        body = await _body(request)
        match request.query_params.get("grant_type"):
            case "password":
                if "email" not in body:
                    raise NotEmulated("Signing in without an email address")
                email, password = _text(body, "email").lower(), _text(body, "password")
                return await self._session(await self.users.by_password(email, password))
            case "refresh_token":
                user, session = await self.users.redeem_refresh(_text(body, "refresh_token"))
                return await self._session(user, session)
            case other:
                raise NotEmulated(f"The grant type {other}")

    async def _session(self, user: Row, session: str | None = None) -> Response:
        user_id = str(user["id"])
        session = session or await self.users.begin_session(user_id)
        token = self._keys.sign_user(
            user_id,
            self._lifetime,
            session_id=session,
            email=user["email"],
            role=user["role"] or "authenticated",
            amr=[{"method": "password", "timestamp": int(time.time())}],
            app_metadata=user["raw_app_meta_data"] or {},
            user_metadata=user["raw_user_meta_data"] or {},
        )
        return JSONResponse(
            {
                "access_token": token,
                "token_type": "bearer",
                "expires_in": self._lifetime,
                "expires_at": int(time.time()) + self._lifetime,
                "refresh_token": await self.users.issue_refresh(user_id, session),
                "user": shown(user),
            }
        )

    async def _user(self, request: Request) -> Response:
        """With the session checked: a token outlives a logout, this answer does not."""
        caller = self._signed_in(request)
        session = caller.claims.get("session_id")
        if session and not await self.users.has_session(str(session)):
            message = "Session from session_id claim in JWT does not exist"
            raise AuthRefusal(403, "session_not_found", message)
        return JSONResponse(shown(await self.users.by_id(caller.user_id or "")))

    async def _log_out(self, request: Request) -> Response:
        caller = self._signed_in(request)
        scope = request.query_params.get("scope", "global")
        if scope not in ("local", "others", "global"):
            raise AuthRefusal(400, "validation_failed", f"Unsupported logout scope {scope!r}")
        await self.users.end_sessions(caller.user_id or "", str(caller.claims.get("session_id")), scope)
        return Response(status_code=204)

    async def _list(self, request: Request) -> Response:
        self._require_admin(request)
        number, size = (_positive(request, name, usual) for name, usual in (("page", 1), ("per_page", 50)))
        found, total = await self.users.page(number, size)
        body = {"users": [shown(user) for user in found], "aud": "authenticated"}
        return JSONResponse(body, headers={"x-total-count": str(total)})

    async def _create(self, request: Request) -> Response:
        self._require_admin(request)
        body = await _body(request)
        wanted = _registration(body, confirmed=bool(body.get("email_confirm")), admin=True)
        return JSONResponse(shown(await self.users.create(wanted)))

    async def _get(self, request: Request) -> Response:
        self._require_admin(request)
        return JSONResponse(shown(await self.users.by_id(request.path_params["user"])))

    async def _delete(self, request: Request) -> Response:
        self._require_admin(request)
        if request.headers.get("content-length", "0") != "0" and (await _body(request)).get("should_soft_delete"):
            raise NotEmulated("Deleting a user softly")
        await self.users.delete(request.path_params["user"])
        return JSONResponse({})

    def _caller(self, request: Request) -> Caller:
        apikey = known_apikey(request, self._keys)
        try:
            return identify(request.headers, self._keys, apikey=apikey)
        except InvalidToken as error:
            message = f"invalid JWT: unable to parse or verify signature, {error.message}"
            raise AuthRefusal(403, "bad_jwt", message) from None

    def _signed_in(self, request: Request) -> Caller:
        caller = self._caller(request)
        if caller.user_id is None:
            raise AuthRefusal(403, "bad_jwt", "invalid claim: missing sub claim")
        return caller

    def _require_admin(self, request: Request) -> None:
        if self._caller(request).role != "service_role":
            raise AuthRefusal(403, "not_admin", "User not allowed")


def _registration(body: Row, *, confirmed: bool, admin: bool) -> Registration:
    """What an admin may say about a user is more than what one may say about oneself."""
    refused = {"phone", "ban_duration", "password_hash", "role"} & {name for name, value in body.items() if value}
    if "email" not in body or refused:
        raise NotEmulated(f"A user with {', '.join(sorted(refused))}" if refused else "A user without an email address")
    password = body.get("password")
    if password is not None and len(_text(body, "password")) < _SHORTEST_PASSWORD:
        raise AuthRefusal(422, "weak_password", f"Password should be at least {_SHORTEST_PASSWORD} characters.")
    if password is None and not admin:
        raise AuthRefusal(400, "validation_failed", "Signup requires a valid password")
    email = _text(body, "email").strip().lower()
    if "@" not in email:
        raise AuthRefusal(400, "validation_failed", "Unable to validate email address: invalid format")
    user_id = body.get("id") if admin else None
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        user_id = str(uuid.UUID(user_id))
    said = body.get("user_metadata") if admin else body.get("data")
    app_metadata = (body.get("app_metadata") if admin else None) or {}
    return Registration(email, password, confirmed, {**_PROVIDER, **app_metadata}, said or {}, user_id)


async def _body(request: Request) -> Row:
    try:
        body: Any = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise AuthRefusal(400, "bad_json", "Could not parse request body as JSON")
    return body


def _text(body: Row, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or "\0" in value:
        raise AuthRefusal(400, "validation_failed", f"{name} must be text")
    return value


def _positive(request: Request, name: str, usual: int) -> int:
    said = request.query_params.get(name) or str(usual)
    if not said.isdecimal() or not 0 < int(said) <= 1_000_000:
        raise AuthRefusal(400, "validation_failed", f"{name} must be a positive number")
    return int(said)
