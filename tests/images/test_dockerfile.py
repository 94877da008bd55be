"""The images' Dockerfile: linted by hadolint, and our own rules on what a stage ends as."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from cyclopts import CycloptsError
from docker.utils.build import exclude_paths
from dockerfile_parse import DockerfileParser
from prefect.cli._app import _app as prefect_command

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deployments" / "images" / "Dockerfile"
TEXT = FILE.read_text()
TARGETS = ("control", "worker")


def complaints(text: str) -> set[str]:
    """Rules of hadolint that `text` breaks."""
    hadolint = Path(sys.executable).with_name("hadolint")
    ended = subprocess.run([hadolint, "--format", "json", "-"], input=text, capture_output=True, text=True)
    return {found["code"] for found in json.loads(ended.stdout)}


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions of each stage, with those of the stage it stands on before them."""
    found: dict[str, list[tuple[str, str]]] = {}
    current = ""
    for one in DockerfileParser(fileobj=BytesIO(TEXT.encode())).structure:
        if one["instruction"] == "FROM":
            image, _, current = one["value"].partition(" AS ")
            found[current] = list(found.get(image, []))
        elif current:
            found[current].append((one["instruction"], one["value"]))
    return found


def last(stage: str, instruction: str) -> str:
    return [value for name, value in stages()[stage] if name == instruction][-1]


def environment(stage: str) -> str:
    return " ".join(value for name, value in stages()[stage] if name in ("ENV", "ARG"))


def test_the_linter_has_nothing_against_it() -> None:
    assert complaints(TEXT) == set()


@pytest.mark.parametrize(
    ("right", "slip", "rule"),
    [
        ("slim-bookworm AS base", "slim-bookworm AS base\nUSER root\nFROM python AS other", "DL3006"),
        ('CMD ["prefect", "worker", "start", "--pool", "gpu"', 'CMD prefect worker start # "', "DL3025"),
        ("USER 1000:1000", "USER root", "DL3002"),
        ("    && rm -rf /var/lib/apt/lists/*", "    && true", "DL3009"),
    ],
)
def test_the_linter_finds_a_slip(right: str, slip: str, rule: str) -> None:
    assert right in TEXT
    assert rule in complaints(TEXT.replace(right, slip))


def test_every_base_image_is_pinned_to_a_release() -> None:
    images = re.findall(r"^FROM (\S+:\S+) AS", TEXT, re.MULTILINE)
    assert [image.partition(":")[0] for image in images] == ["ghcr.io/astral-sh/uv", "python"]
    assert all(re.search(r":\d+\.\d+\.\d+", image) for image in images)


@pytest.mark.parametrize("target", TARGETS)
def test_it_ends_as_a_user_without_rights_in_a_folder_without_settings(target: str) -> None:
    assert last(target, "USER") == "1000:1000"
    assert last(target, "WORKDIR") == "/var/lib/longtake"


@pytest.mark.parametrize("target", TARGETS)
def test_signals_reach_the_worker(target: str) -> None:
    """Exec forms all the way: tini, our entry point, which becomes the command."""
    assert json.loads(last(target, "ENTRYPOINT")) == ["tini", "--", "python", "-m", "deployments.images.secret_files"]
    assert json.loads(last(target, "CMD"))[0] == "prefect"


@pytest.mark.parametrize(("target", "pool"), [("control", "control"), ("worker", "gpu")])
def test_its_command_is_a_warm_worker_that_tells_its_health(target: str, pool: str) -> None:
    arguments = json.loads(last(target, "CMD"))[1:]
    assert arguments == ["worker", "start", "--pool", pool, "--type", "warm", "--with-healthcheck"]
    try:
        prefect_command.parse_args(arguments, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        pytest.fail(str(error))


@pytest.mark.parametrize("target", TARGETS)
def test_its_health_is_asked_where_a_worker_answers(target: str) -> None:
    from prefect.settings import PREFECT_WORKER_WEBSERVER_PORT

    assert f"127.0.0.1:{PREFECT_WORKER_WEBSERVER_PORT.value()}/health" in last(target, "HEALTHCHECK")


@pytest.mark.parametrize("target", TARGETS)
def test_no_secret_is_in_it(target: str) -> None:
    assert not re.search(r"PASSWORD|SECRET|TOKEN|AUTH_STRING|_KEY=", environment(target))
    assert "type=secret" not in TEXT


def test_models_are_kept_on_a_volume() -> None:
    assert "/models" in json.loads(last("worker", "VOLUME"))
    assert "HF_HOME=/models/" in environment("worker")


def test_only_the_worker_has_torch() -> None:
    runs = {target: " ".join(value for name, value in stages()[target] if name == "RUN") for target in TARGETS}
    assert "--extra diffusers" in runs["worker"]
    assert "--extra" not in runs["control"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_change_of_the_code_installs_no_package_anew(target: str) -> None:
    steps = stages()[target]
    copied = steps.index(("COPY", ". ."))
    after = [value for name, value in steps[copied:] if name == "RUN"]
    assert len(after) == 1
    assert "--no-deps" in after[0]


def test_the_comments_build_the_images_of_this_version() -> None:
    assert set(re.findall(r"-t longtake-\w+:(\S+)", TEXT)) == {version("longtake")}


NEEDED = {
    "prefect.yaml", "pyproject.toml", "README.md", "LICENSE", "flows/poll.py", "tasks/a.py", "blocks/rows.sql",
    "deployments/pools/gpu.json", "deployments/cli/main.py", "deployments/images/Dockerfile",
    "supabase/migrations/1.sql",
}  # fmt: skip
UNWANTED = {
    ".env", ".git/config", ".venv/bin/python", ".longtake/queue.db", "secrets.json", "tests/a.py", "deployments/.env",
    "deployments/compose/secrets/supabase_key", "supabase/.temp/key", "supabase/functions/.env.local",
    "flows/__pycache__/poll.pyc",
}  # fmt: skip


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with what a person may have put into it."""
    for name in NEEDED | UNWANTED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


def sent(clone: Path) -> set[str]:
    """What the build gets to see, by docker-py's reading of the ignore file."""
    lines = (FILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    paths: Any = exclude_paths(str(clone), patterns, dockerfile="deployments/images/Dockerfile")
    return {path for path in paths if (clone / path).is_file()}


def test_the_build_sees_the_code_and_no_secrets(clone: Path) -> None:
    assert sent(clone) == NEEDED


def test_the_build_sees_all_that_the_project_names() -> None:
    """What pyproject.toml and `longtake setup` read must not be ignored."""
    kept = {line[1:] for line in (FILE.parent / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert {"blocks", "deployments", "flows", "tasks", "pyproject.toml", "prefect.yaml", "README.md", "LICENSE"} <= kept
    assert all((ROOT / name).exists() for name in kept)
