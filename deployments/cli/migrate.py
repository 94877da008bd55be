"""`longtake migrate-sqlite`: from the embedded queue to a Supabase project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from deployments.cli.exits import ExitCode, Refusal
from deployments.cli.options import DEFAULTS, ELSEWHERE, Common, Supabase, Switch, load_settings
from deployments.cli.screen import Screen

if TYPE_CHECKING:
    from deployments.migration.load import Report
    from deployments.migration.paths import LocalFiles
    from deployments.migration.source import Source
    from deployments.migration.transform import Plan
    from deployments.settings import Settings
    from deployments.site import SupabaseSite

_SHOWN = 20


def migrate_sqlite(
    *,
    queue: Annotated[Path | None, Parameter(help="The SQLite file; otherwise queue.db of the home.")] = None,
    storage: Annotated[Path | None, Parameter(help="The folder of its files; otherwise storage/ of the home.")] = None,
    dry_run: Annotated[Switch, Parameter(help="Say what would be imported, and import nothing.")] = False,
    force: Annotated[Switch, Parameter(help="Also while somebody works on tasks of the source.")] = False,
    supabase: Supabase = ELSEWHERE,
    common: Common = DEFAULTS,
) -> ExitCode:
    """Copy a SQLite queue and its files into a Supabase project. Changes nothing in the source; repeat it at will."""
    screen, settings = Screen(as_json=common.json), load_settings(common, **supabase.overrides())
    from deployments.migration.paths import LocalFiles
    from deployments.migration.source import read
    from deployments.migration.transform import planned

    source = read((queue or settings.queue_path).expanduser())
    _tell_source(screen, source)
    files = LocalFiles((storage or settings.storage_root).expanduser())
    if dry_run:
        return _tell_plan(screen, source, planned(source.rows, ""), files)
    _refuse_in_use(source, force=force)
    from deployments.migration.load import load

    site = _site(settings)
    plan = planned(source.rows, site.project_id or "")
    report = load(plan, site, files, screen.say)
    return _tell(screen, plan, report, _missing(plan, files))


def _refuse_in_use(source: Source, *, force: bool) -> None:
    if source.held and not force:
        names = ", ".join(source.held[:5]) + (", …" if source.held[5:] else "")
        raise Refusal(
            f"{len(source.held)} of the source's tasks are being worked on: {names}.",
            "Stop its workers first, or say --force to import these as queued.",
            code="source_in_use",
            exit_code=ExitCode.CONFLICT,
        )


def _site(settings: Settings) -> SupabaseSite:
    from deployments.site import needed_supabase_site

    site = needed_supabase_site(settings)
    if not site.is_service:
        raise Refusal(
            "Only the secret key may import tasks that have been worked on.", "Set LONGTAKE_SUPABASE_KEY to it."
        )
    if site.project_id is None:
        raise Refusal(
            "Which project shall the tasks belong to?", "Say --supabase-project, a row of the table projects."
        )
    return site


def _missing(plan: Plan, files: LocalFiles) -> list[tuple[str, str]]:
    from deployments.migration.paths import texts_of

    found = ((row["id"], text) for row in plan.rows for text in texts_of(row) if files.misses(text))
    return list(dict.fromkeys(found))


def _listed(pairs: Sequence[tuple[str, str]], told: str = "reason") -> list[dict[str, str]]:
    return [{"id": task_id, told: text} for task_id, text in pairs]


def _totals(source: Source) -> dict[str, Any]:
    return {
        "by_status": dict(sorted(Counter(row["status"] for row in source.rows).items())),
        "by_type": dict(sorted(Counter(row["task_type"] for row in source.rows).items())),
    }


def _tell_source(screen: Screen, source: Source) -> None:
    whose = "Longtake's" if source.is_ours else "an older worker's"
    totals = ", ".join(f"{count} {status}" for status, count in _totals(source)["by_status"].items())
    screen.say(f"{len(source.rows)} tasks in {whose} queue: {totals or 'none'}")


def _tell_plan(screen: Screen, source: Source, plan: Plan, files: LocalFiles) -> ExitCode:
    from deployments.migration.paths import texts_of

    found = {path for row in plan.rows for text in texts_of(row) if (path := files.find(text))}
    missing = _missing(plan, files)
    screen.document(
        {
            "tasks": len(source.rows),
            **_totals(source),
            "files": len(found),
            "held": list(source.held),
            "refused": _listed(plan.refused),
            "ended_on_the_way": _listed(plan.fell),
            "missing_files": _listed(missing, "path"),
        }
    )
    screen.say(f"{len(plan.rows)} tasks and {len(found)} files would go; {len(source.held)} are being worked on.")
    _tell_each(screen, plan.refused, "cannot be imported")
    _tell_each(screen, plan.fell, "ends on the way")
    _tell_each(screen, missing, "names a file that is not here")
    return ExitCode.OK


def _tell(screen: Screen, plan: Plan, report: Report, missing: list[tuple[str, str]]) -> ExitCode:
    screen.document(
        {
            "imported": report.imported,
            "already_there": report.already,
            "files": report.files,
            "refused": _listed(report.refused),
            "ended_on_the_way": _listed(plan.fell),
            "missing_files": _listed(missing, "path"),
            "went_on": [{"from": was, "to": now, "tasks": n} for (was, now), n in sorted(report.went_on.items())],
            "differs": report.differs,
        }
    )
    screen.say(f"Imported {report.imported} tasks and {report.files} files; {report.already} were there already.")
    _tell_each(screen, report.refused, "not imported")
    _tell_each(screen, plan.fell, "ended on the way")
    _tell_each(screen, missing, "names a file that is not here")
    for (was, now), count in sorted(report.went_on.items()):
        screen.say(f"  {count} that came {was} are {now} there by now")
    for line in report.differs:
        screen.say(f"  differs: {line}")
    if report.ok:
        but = ", but for what went on since" if report.went_on else ""
        screen.say(f"By status and type there are as many tasks there as should be{but}. The source is unchanged.")
    return ExitCode.OK if report.ok else ExitCode.FAILED


def _tell_each(screen: Screen, pairs: Sequence[tuple[str, str]], what: str) -> None:
    for task_id, why in pairs[:_SHOWN]:
        screen.say(f"  {what}: {task_id}: {why}")
    if len(pairs) > _SHOWN:
        screen.say(f"  and {len(pairs) - _SHOWN} more; --json lists all")
