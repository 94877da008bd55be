"""What the migrations say twice: once there, once in Python."""

from __future__ import annotations

import re
from pathlib import Path

from blocks.queue.supabase import SCHEMA_VERSION
from tasks.kinds import KINDS

MIGRATIONS = Path(__file__).parents[2] / "supabase" / "migrations"
#: Types that the queue takes and that no flow serves yet.
STAGES_OF_A_BRIEF = {
    "analysis",
    "asset_prep",
    "storyboard",
    "video_generation",
    "image_processing",
    "text_analysis",
    "render",
}


def migration(name: str) -> str:
    (path,) = MIGRATIONS.glob(f"*_{name}.sql")
    return path.read_text()


def test_the_database_knows_the_types_that_flows_serve_and_the_stages_of_a_brief() -> None:
    values = migration("create_task_types").split("insert into private.task_types")[1].split(";")[0]
    served = {name for kind in KINDS for name in kind.names}
    assert set(re.findall(r"\('(\w+)'\)", values)) == served | STAGES_OF_A_BRIEF


def test_the_schema_version_is_the_one_that_doctor_looks_for() -> None:
    answered = migration("create_readers").split("function public.longtake_schema_version")[1]
    assert f"select '{SCHEMA_VERSION}'" in answered
