"""`longtake migrate-sqlite`: from the embedded queue to a Supabase project."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from deployments.cli.exits import ExitCode, Refusal
from deployments.cli.options import DEFAULTS, ELSEWHERE, Common, Supabase, Switch, load_settings
from deployments.cli.screen import Screen

if TYPE_CHECKING:
    from deployments.migration.load import Report
    from deployments.migration.source import Source

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
    from deployments.migration.source import read
    from deployments.migration.transform import local_file, transformed
    from deployments.site import needed_supabase_site

    source = read((queue or settings.queue_path).expanduser())
    if source.held and not force:
        raise Refusal(
            f"{len(source.held)} tasks of the source are being worked on, such as {source.held[0]}.",
            "Stop its workers first, or say --force to import these as queued.",
            code="source_in_use",
            exit_code=ExitCode.CONFLICT,
        )
    _tell_source(screen, source)
    if dry_run:
        screen.document({"tasks": len(source.rows), **_totals(source)})
        return ExitCode.OK
    from deployments.migration.load import load

    site = needed_supabase_site(settings)
    if site.project_id is None:
        raise Refusal(
            "Which project shall the tasks belong to?", "Say --supabase-project, a row of the table projects."
        )
    rows = transformed(source.rows, site.project_id)
    report = load(rows, site, local_file((storage or settings.storage_root).expanduser().absolute()), screen.say)
    return _tell(screen, report)


def _totals(source: Source) -> dict[str, Any]:
    return {
        "by_status": dict(sorted(Counter(row["status"] for row in source.rows).items())),
        "by_type": dict(sorted(Counter(row["task_type"] for row in source.rows).items())),
    }


def _tell_source(screen: Screen, source: Source) -> None:
    whose = "Longtake's" if source.is_ours else "an older worker's"
    totals = ", ".join(f"{count} {status}" for status, count in _totals(source)["by_status"].items())
    screen.say(f"{len(source.rows)} tasks in {whose} queue: {totals or 'none'}")


def _tell(screen: Screen, report: Report) -> ExitCode:
    screen.document(
        {
            "imported": report.imported,
            "already_there": report.already,
            "files": report.files,
            "refused": [{"id": task_id, "reason": why} for task_id, why in report.refused],
            "differs": report.differs,
        }
    )
    screen.say(f"Imported {report.imported} tasks and {report.files} files; {report.already} were there already.")
    for task_id, why in report.refused[:_SHOWN]:
        screen.say(f"  not imported: {task_id}: {why}")
    if len(report.refused) > _SHOWN:
        screen.say(f"  and {len(report.refused) - _SHOWN} more; --json lists all")
    for line in report.differs:
        screen.say(f"  differs: {line}")
    if report.ok:
        screen.say("Every status and type has as many tasks there as here. The source is unchanged.")
    return ExitCode.OK if report.ok else ExitCode.FAILED
