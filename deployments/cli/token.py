"""`longtake token …`: access tokens for workers and apps, one for each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from cyclopts import App, Parameter

from deployments.cli.exits import ExitCode, Refusal
from deployments.cli.options import DEFAULTS, ELSEWHERE, REPEATABLE, Common, Supabase, Switch, load_settings
from deployments.cli.screen import Screen

if TYPE_CHECKING:
    from deployments.tokens import Tokens

app = App(name="token", help="Make and revoke access tokens of a Supabase project.", help_format="plaintext")


@app.command
def create(
    *,
    label: Annotated[str, Parameter(help="Whose it is, such as the name of a worker.")],
    user: Annotated[
        UUID | None, Parameter(help="For this user's tasks; otherwise for those of whoever signs in.")
    ] = None,
    worker: Annotated[
        Switch, Parameter(help="For everybody's tasks: a worker of the operator's. Needs the secret key.")
    ] = False,
    scope: Annotated[
        Sequence[Literal["enqueue", "work"]], REPEATABLE, Parameter(help="What it may do. May be repeated.")
    ] = ("enqueue", "work"),
    days: Annotated[int | None, Parameter(help="It expires after so many days; otherwise never.")] = None,
    supabase: Supabase = ELSEWHERE,
    common: Common = DEFAULTS,
) -> ExitCode:
    """Make a token and show it, once."""
    screen = Screen(as_json=common.json)
    if user and worker:
        raise Refusal("--user and --worker exclude each other.", "Say whose tasks it is for.", code="usage")
    if days is not None and not 1 <= days <= 3650:
        raise Refusal(f"--days cannot be {days}.", "Give 1 to 3650.")
    with _tokens(common, supabase) as (tokens, is_service):
        if is_service and not user and not worker:
            raise Refusal("Whose tasks is it for?", "Say --user UUID, or --worker for everybody's.", code="usage")
        if worker and not is_service:
            raise Refusal("--worker needs the secret key.", "Set LONGTAKE_SUPABASE_KEY to it.")
        token, row = tokens.create(label, scopes=scope, days=days, user_id=str(user) if user else None)
    screen.document({"token": token, **row})
    if not screen.as_json:
        screen.say(token)
        screen.say("Keep it now: it cannot be shown again. A worker sends it as Authorization: Bearer, or has it in")
        screen.say(f"LONGTAKE_SUPABASE_KEY. Revoke it with: longtake token revoke {row['id'][:8]}")
    return ExitCode.OK


@app.command(name="list")
def list_(*, supabase: Supabase = ELSEWHERE, common: Common = DEFAULTS) -> ExitCode:
    """List tokens, newest first. What a token is cannot be shown."""
    screen = Screen(as_json=common.json)
    with _tokens(common, supabase) as (tokens, _):
        rows = tokens.list()
    screen.document({"tokens": rows})
    if not screen.as_json:
        head = ("id", "begins", "label", "for", "may", "last used", "state")
        screen.table(head, [_row(row) for row in rows])
    return ExitCode.OK


@app.command
def revoke(
    token_id: Annotated[str, Parameter(name="ID", help="The token's id, or a beginning of it that no other has.")],
    /,
    *,
    supabase: Supabase = ELSEWHERE,
    common: Common = DEFAULTS,
) -> ExitCode:
    """Revoke a token at once and for good."""
    screen = Screen(as_json=common.json)
    with _tokens(common, supabase) as (tokens, _):
        row = tokens.revoke(_found(tokens.list(), token_id))
    screen.document(row)
    if not screen.as_json:
        screen.say(f"Revoked: {row['label']} ({row['id']}).")
    return ExitCode.OK


@contextlib.contextmanager
def _tokens(common: Common, supabase: Supabase) -> Iterator[tuple[Tokens, bool]]:
    """(the tokens of the settings' project, whether the key is the service's)."""
    settings = load_settings(common, **supabase.overrides())
    from deployments.site import needed_supabase_site
    from deployments.tokens import Tokens

    site = needed_supabase_site(settings)
    tokens = Tokens(site)
    try:
        yield tokens, site.is_service
    finally:
        tokens.close()


def _found(rows: Sequence[dict[str, Any]], said: str) -> str:
    said = said.strip().lower()
    found = [row["id"] for row in rows if said and row["id"].startswith(said)]
    if len(found) > 1:
        raise Refusal(f"{len(found)} tokens begin with {said!r}.", "Give more of the id.", code="ambiguous_id")
    if not found:
        raise Refusal(
            f"No token's id begins with {said!r}.",
            "See them with: longtake token list",
            code="unknown_token",
            exit_code=ExitCode.NOT_FOUND,
        )
    return str(found[0])


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    state = "revoked" if row["revoked_at"] else f"until {row['expires_at'][:10]}" if row["expires_at"] else "good"
    used = (row["last_used_at"] or "never")[:16].replace("T", " ")
    return (
        row["id"][:8],
        row["prefix"] + "…",
        row["label"],
        row["user_id"] or "everybody",
        ", ".join(row["scopes"]),
        used,
        state,
    )
