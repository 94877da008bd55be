"""Who calls the edge functions in these tests, and with what: plain HTTP, as any client in any language."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from deployments.local.stack import LocalSupabase
from tests.queue.sql import TestDatabase

FUNCTIONS = (
    "create-task",
    "claim-next-task",
    "complete-task",
    "update-task-status",
    "get-predecessor-output",
    "get-completed-segments",
    "generate-upload-url",
    "task-counts",
    "heartbeat",
    "queue",
)


class Edge:
    """Posts to the functions as one caller, with the Authorization header alone.

    From an address of its own: failed authentications of one address are limited.
    """

    def __init__(self, http: httpx.Client, url: str, bearer: str | None) -> None:
        self._http = http
        self._url = f"{url}/functions/v1"
        self._headers = {"content-type": "application/json", "x-forwarded-for": f"test-{secrets.token_hex(4)}"}
        if bearer is not None:
            self._headers["authorization"] = f"Bearer {bearer}"

    def request(self, method: str, function: str, content: str | bytes | None = None, **headers: str) -> httpx.Response:
        url = f"{self._url}/{function}"
        return self._http.request(method, url, content=content, headers=self._headers | headers)

    def post(self, function: str, body: Any = None, **headers: str) -> httpx.Response:
        content = body if isinstance(body, str | bytes) else json.dumps({} if body is None else body)
        return self.request("POST", function, content, **headers)

    def ok(self, function: str, body: Any = None) -> Any:
        answer = self.post(function, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    # What most tests do first

    def enqueue(self, project: str, **fields: Any) -> str:
        task = {"task_type": "single_image", "params": {"prompt": "the sea"}, "project_id": project}
        return str(self.ok("create-task", task | fields)["task_id"])

    def claim(self, task_id: str, **fields: Any) -> Any:
        return self.ok("claim-next-task", {"task_ids": [task_id]} | fields)

    def get(self, task_id: str) -> Any:
        return self.ok("queue", {"verb": "get", "task_id": task_id})


@dataclass(frozen=True)
class Tenant:
    user: str
    project: str
    session: Edge
    token: Edge


class World:
    """Two users with a project and a token each, a worker of the operator, and those whom nobody lets in."""

    def __init__(self, supabase: LocalSupabase, database: TestDatabase, http: httpx.Client) -> None:
        self.supabase = supabase
        self.database = database
        self.http = http

    def edge(self, bearer: str | None) -> Edge:
        return Edge(self.http, self.supabase.url, bearer)

    @cached_property
    def service(self) -> Edge:
        return self.edge(self.supabase.secret_key)

    @cached_property
    def a(self) -> Tenant:
        return self._tenant()

    @cached_property
    def b(self) -> Tenant:
        return self._tenant()

    @cached_property
    def worker(self) -> Edge:
        return self.token()

    def _tenant(self) -> Tenant:
        user = str(uuid.uuid4())
        self.database.run("insert into auth.users (id) values (%s)", user)
        rows = self.database.run("insert into public.projects (user_id) values (%s) returning id::text", user)
        return Tenant(user, rows[0][0], self.edge(self.supabase.sign_user_jwt(user)), self.token(user))

    def token(self, user: str | None = None, **fields: Any) -> Edge:
        return self.edge(self.token_text(user, **fields)[0])

    def token_text(self, user: str | None = None, **fields: Any) -> tuple[str, str]:
        """The token and its id."""
        text = f"lt_{secrets.token_urlsafe(32)}"
        said = {"p_hash": hashlib.sha256(text.encode()).hexdigest(), "p_label": "test", "p_prefix": text[:8]}
        return text, self.rpc("create_token", {**said, "p_user_id": user, **fields})["id"]

    def rpc(self, function: str, arguments: dict[str, Any]) -> Any:
        headers = {"apikey": self.supabase.secret_key}
        url = f"{self.supabase.url}/rest/v1/rpc/{function}"
        answer = self.http.post(url, json=arguments, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    def nobodies(self) -> dict[str, tuple[Edge, int]]:
        """Callers that get no further than the door, and the status that tells them so."""
        user = self.a.user
        revoked, revoked_id = self.token_text(user)
        self.rpc("revoke_token", {"p_id": revoked_id})
        expired, expired_id = self.token_text(user)
        past = "update public.user_api_token set created_at = '2020-01-01', expires_at = '2020-01-02' where id = %s"
        self.database.run(past, expired_id)
        sign, now = self.supabase.sign_user_jwt, int(time.time())
        session = {"sub": user, "aud": "authenticated", "role": "authenticated", "exp": now + 600}
        stranger = ec.generate_private_key(ec.SECP256R1())
        kid = jwt.get_unverified_header(sign(user))["kid"]
        bearers = {
            "nobody": (None, 401),
            "the publishable key": (self.supabase.publishable_key, 401),
            "the anon key": (self.supabase.anon_key, 401),
            "an expired session": (sign(user, exp=now - 60), 401),
            "a session of alg none": (unsigned(session), 401),
            "a session by a stranger's key": (jwt.encode(session, stranger, "ES256", {"kid": kid}), 401),
            "a session by another shared secret": (jwt.encode(session, "x" * 40, "HS256"), 401),
            "the service of alg none": (unsigned({"role": "service_role", "exp": now + 600}), 401),
            "the service by a stranger's key": (
                jwt.encode({"role": "service_role", "exp": now + 600}, stranger, "ES256", {"kid": kid}),
                401,
            ),
            "the service by another shared secret": (
                jwt.encode({"role": "service_role", "exp": now + 600}, "x" * 40, "HS256"),
                401,
            ),
            "a user that says service_role": (sign(user, role="service_role"), 401),
            "a session for somebody else": (sign(user, aud="elsewhere"), 401),
            "half a secret key": (self.supabase.secret_key[:-1], 401),
            "an invented token": (f"lt_{'a' * 43}", 403),
            "a revoked token": (revoked, 403),
            "an expired token": (expired, 403),
        }
        return {name: (self.edge(bearer), status) for name, (bearer, status) in bearers.items()}


def unsigned(claims: dict[str, Any]) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."
