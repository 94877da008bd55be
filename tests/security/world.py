"""User A's rows and files, everybody who might call, and whether anything came of a call. Plain HTTP."""

from __future__ import annotations

import secrets
import time
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

import httpx
import jwt
import psycopg
from cryptography.hazmat.primitives.asymmetric import ec

from deployments.local.stack import LocalSupabase
from tests.edge.callers import unsigned
from tests.security.calls import filled, tells
from tests.security.catalogue import strings
from tests.security.family import family, tenant

SERVICE = ("the secret key", "the service_role key")
STRANGERS = (
    "nobody",
    "the publishable key",
    "the anon key",
    "B",
    "A's token",
    "a worker's token",
    "forged: another secret",
    "forged: another key",
    "forged: no signature",
    "forged: A as service",
    "expired",
    "for another audience",
)
CALLERS = ("A", *SERVICE, *STRANGERS)
BUCKET = "/storage/v1/object/image_uploads"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
_TABLES = """select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where n.nspname in ('public', 'private') and c.relkind in ('r', 'p') order by 1"""


class World:
    """Made once; `restore` brings every row of ours back to what it was."""

    def __init__(self, supabase: LocalSupabase) -> None:
        self.supabase = supabase
        self.http = httpx.Client(base_url=supabase.url, timeout=30, trust_env=False)
        self.db = psycopg.connect(supabase.admin_database_url, autocommit=True)
        self._tables = strings(self.db, _TABLES)
        self.db.execute("truncate public.projects, public.tasks, public.workers, public.user_api_token cascade")
        self.names = family(self.db)
        self.a = self.names["a"]
        # With nothing but an empty project: all that B sees is somebody else's.
        self.b, self.b_project = tenant(self.db)
        self.names |= {"b": self.b, "B": self.b.upper()}
        self._headers = self._credentials()
        self.db.execute("drop schema if exists security_test cascade; create schema security_test")
        for table in self._tables:
            self.db.execute(f"create table {_kept(table)} as table {table}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.db.execute("drop schema security_test cascade")
        self.db.close()
        self.http.close()

    def restore(self) -> None:
        with self.db.transaction():
            self.db.execute("set local session_replication_role = replica")
            self.db.execute(f"truncate {', '.join(self._tables)}")
            for table in self._tables:
                self.db.execute(f"insert into {table} table {_kept(table)}")
            self.db.execute("delete from storage.objects")

    def state(self) -> list[Any]:
        """Every row of ours, but for the stamp that the use of a token leaves."""
        rows = " union all ".join(
            f"select '{table}', (to_jsonb(t) - 'last_used_at')::text from {table} t" for table in self._tables
        )
        return self.db.execute(f"{rows} order by 1, 2").fetchall()

    def headers(self, caller: str) -> dict[str, str]:
        return self._headers[caller]

    def call(self, caller: str, function: str, arguments: dict[str, Any]) -> httpx.Response:
        return self.http.post(f"/rest/v1/rpc/{function}", json=arguments, headers=self.headers(caller))

    def comes_of_it(self, caller: str, function: str, arguments: dict[str, Any]) -> bool:
        """Whether a function tells this caller anything or changes a row. Afterwards everything is as it was."""
        names = self.names | ({"own": self.names["lent"]} if caller in SERVICE else {})
        before = self.state()
        answer = self.call(caller, function, filled(arguments, names))
        if self.state() != before:
            self.restore()
            return True
        return answer.status_code == 200 and tells(function, answer.json())

    def put(self, path: str) -> None:
        """A file, as the service stores it."""
        headers = self.headers("the secret key") | {"content-type": "image/png", "x-upsert": "true"}
        self.http.post(f"{BUCKET}/{path}", content=PNG, headers=headers).raise_for_status()

    def files(self) -> list[Any]:
        return self.db.execute("select name, version from storage.objects order by 1").fetchall()

    def _credentials(self) -> dict[str, dict[str, str]]:
        supabase, sign, now = self.supabase, self.supabase.sign_user_jwt, int(time.time())
        session = {"sub": self.a, "aud": "authenticated", "role": "authenticated", "exp": now + 3600}
        kid = jwt.get_unverified_header(sign(self.a))["kid"]
        key = ec.generate_private_key(ec.SECP256R1())
        bearers = {
            "A": sign(self.a),
            "the service_role key": supabase.service_role_key,
            "the anon key": supabase.anon_key,
            "B": sign(self.b, app_metadata={"role": "service_role"}, user_metadata={"sub": self.a}),
            "A's token": self._token(self.a),
            "a worker's token": self._token(None),
            "forged: another secret": jwt.encode(session | {"role": "service_role"}, "x" * 40, "HS256"),
            "forged: another key": jwt.encode(session, key, "ES256", {"kid": kid}),
            "forged: no signature": unsigned(session),
            "forged: A as service": _with_role(sign(self.a), unsigned(session | {"role": "service_role"})),
            "expired": sign(self.a, exp=now - 60),
            "for another audience": sign(self.a, aud="elsewhere"),
        }
        made = {
            caller: {"apikey": supabase.publishable_key, "authorization": f"Bearer {bearer}"}
            for caller, bearer in bearers.items()
        }
        return made | {
            "nobody": {},
            "the publishable key": {"apikey": supabase.publishable_key},
            "the secret key": {"apikey": supabase.secret_key},
        }

    def _token(self, user_id: str | None) -> str:
        text = f"lt_{secrets.token_urlsafe(32)}"
        self.db.execute(
            "select public.create_token(%s, 'x', 'lt_', p_user_id => %s)",
            [sha256(text.encode()).hexdigest(), user_id],
        )
        return text


def _with_role(token: str, invented: str) -> str:
    """A real token's header and signature around other claims."""
    header, _, signature = token.split(".")
    return f"{header}.{invented.split('.')[1]}.{signature}"


def _kept(table: str) -> str:
    return f"security_test.{table.replace('.', '_')}"
