"""compose.yaml against its schema, our rules, and the programs whose settings and options it names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclopts import CycloptsError
from prefect.cli._app import _app as prefect_command
from prefect.settings import Settings as PrefectSettings
from prefect.settings.legacy import _get_settings_fields

from deployments.cli.main import app as longtake_command
from deployments.images.secret_files import SECRETS, with_secrets
from deployments.settings import Settings

FILE = Path(__file__).parents[2] / "deployments" / "compose" / "compose.yaml"
TEXT = FILE.read_text()
CONTENT: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = CONTENT["services"]
OURS = sorted(SERVICES.keys() - {"database"})
#: PREFECT_… that are read past Prefect's own settings.
_READ_DIRECTLY = {"PREFECT_SERVER_ENCRYPTION_KEY"}


def wrong(text: str, folder: Path) -> str:
    """What the Compose specification's schema has against `text`."""
    (folder / "compose.yaml").write_text(text)
    check = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    ended = subprocess.run([*check, folder / "compose.yaml"], capture_output=True, text=True)
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


def test_it_is_a_compose_file(tmp_path: Path) -> None:
    assert wrong(TEXT, tmp_path) == ""


def test_the_schema_finds_a_slip(tmp_path: Path) -> None:
    assert "'helthcheck'" in wrong(TEXT.replace("healthcheck:", "helthcheck:", 1), tmp_path)


@pytest.mark.parametrize("service", SERVICES)
def test_every_image_is_pinned_by_its_tag(service: str) -> None:
    image = re.sub(r"\$\{IMAGE_TAG:-(.+?)}", r"\1", SERVICES[service]["image"])
    assert re.search(r":\d+\.\d+", image), image


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_a_health_check_or_ends_by_itself(service: str) -> None:
    """Of a worker it is the image's; see test_dockerfile.py. Set-up is watched by who waits for its end."""
    check = SERVICES[service].get("healthcheck", {})
    if service == "setup":
        awaited = [one for one in SERVICES.values() if "setup" in one.get("depends_on", {})]
        assert check == {"disable": True}
        assert all(one["depends_on"]["setup"]["condition"] == "service_completed_successfully" for one in awaited)
    elif service.startswith("worker-"):
        assert not check
        assert "--with-healthcheck" in SERVICES[service]["command"]
    else:
        assert check["test"][0] == "CMD"


def test_every_secret_is_a_file_of_the_folder_that_git_ignores() -> None:
    ignored = (FILE.parent / "secrets" / ".gitignore").read_text()
    assert all(secret == {"file": f"secrets/{name}"} for name, secret in CONTENT["secrets"].items())
    assert "\n*\n" in ignored


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_secrets_from_files_it_was_given_and_no_others(service: str) -> None:
    given = {f"/run/secrets/{name}" for name in SERVICES[service].get("secrets", [])}
    environment = SERVICES[service].get("environment", {})
    assert {value for name, value in environment.items() if name.endswith("_FILE")} == given


@pytest.mark.parametrize("service", SERVICES)
def test_no_variable_holds_a_secret_or_a_default_password(service: str) -> None:
    for name, value in SERVICES[service].get("environment", {}).items():
        assert name not in SECRETS
        assert name.endswith("_FILE") or not re.search(r"PASSWORD|SECRET|TOKEN|_KEY$|AUTH_STRING$", name), value
    assert not re.search(r"://[^/\s]*:[^/\s]*@", str(SERVICES[service]))


def test_workers_cannot_reach_the_database() -> None:
    on_it = {name for name, service in SERVICES.items() if "database" in service["networks"]}
    assert on_it == {"database", "server"}
    assert CONTENT["networks"]["database"]["internal"] is True


def test_nothing_listens_but_prefect_on_this_machine_alone() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"server": ["127.0.0.1:4200:4200"]}


def test_only_set_up_has_the_key_of_the_supabase_project() -> None:
    assert [name for name, service in SERVICES.items() if "supabase_key" in service.get("secrets", [])] == ["setup"]


@pytest.mark.parametrize("service", SERVICES)
def test_it_comes_back_after_a_crash_and_its_log_ends_somewhere(service: str) -> None:
    assert SERVICES[service]["restart"] == ("on-failure:3" if service == "setup" else "unless-stopped")
    assert SERVICES[service]["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("service", SERVICES)
def test_none_is_privileged(service: str) -> None:
    assert not SERVICES[service].keys() & {"privileged", "cap_add", "pid", "network_mode", "user", "ipc"}
    assert SERVICES[service]["security_opt"] == ["no-new-privileges:true"]
    assert "docker.sock" not in str(SERVICES[service])
    assert service == "database" or SERVICES[service]["cap_drop"] == ["ALL"]


def test_the_gpu_is_the_gpu_workers_and_it_keeps_its_models() -> None:
    reserving = {name: one["deploy"] for name, one in SERVICES.items() if "reservations" in str(one.get("deploy"))}
    device = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert reserving == {"worker-gpu": {"resources": {"reservations": {"devices": [device]}}}}
    assert "models:/models" in SERVICES["worker-gpu"]["volumes"]
    assert CONTENT["volumes"]["models"] == {"name": "longtake-models"}  # as pool gpu-docker calls it


def test_there_is_a_worker_for_each_of_our_pools() -> None:
    pools = {
        command[command.index("--pool") + 1]
        for one in SERVICES.values()
        if "worker" in (command := one.get("command", []))
    }
    assert pools == {"control", "cpu", "gpu"}


@pytest.mark.parametrize("service", OURS)
def test_every_command_and_option_exists(service: str) -> None:
    program, *arguments = SERVICES[service]["command"]
    parser = {"prefect": prefect_command, "longtake": longtake_command}[program]
    try:
        parser.parse_args(arguments, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        pytest.fail(str(error))


def test_a_command_that_does_not_exist_is_found() -> None:
    with pytest.raises(CycloptsError):
        prefect_command.parse_args(["worker", "start", "--pol", "gpu"], print_error=False, exit_on_error=False)


@pytest.mark.parametrize("service", OURS)
def test_every_variable_is_a_setting_of_prefect_or_of_ours(service: str) -> None:
    known = {*_get_settings_fields(PrefectSettings), *Settings.names(), *_READ_DIRECTLY}
    names = {re.sub(r"_FILE$", "", name) for name in SERVICES[service]["environment"]}
    assert names <= known


def test_a_variable_of_the_host_that_looks_like_a_setting_is_one() -> None:
    """Otherwise `longtake` on that host refuses it."""
    assert set(re.findall(r"\$\{(LONGTAKE_\w+)", TEXT)) <= set(Settings.names())


def test_prefect_makes_of_its_variables_the_address_of_the_database(tmp_path: Path) -> None:
    environment = dict(SERVICES["server"]["environment"])
    for name in [name for name in environment if name.endswith("_FILE")]:
        environment[name] = str(tmp_path / name)
        (tmp_path / name).write_text("p@ss:wörd/")
    look = (
        "from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL as url, get_current_settings as now;"
        "from sqlalchemy import make_url; u = make_url(url.value());"
        "print(u.drivername, u.username, u.password, u.host, u.port, u.database);"
        "print(now().server.api.auth_string.get_secret_value(), now().server.ui.api_url)"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = with_secrets({**kept, **environment, "PREFECT_HOME": str(tmp_path)})
    for name, value in environment.items():
        environment[name] = re.sub(r"\$\{\w+:-(.*?)}", r"\1", value)
    ended = subprocess.run([sys.executable, "-c", look], env=environment, capture_output=True, text=True, check=True)
    database, web = ended.stdout.splitlines()
    assert database == "postgresql+asyncpg prefect p@ss:wörd/ database 5432 prefect"
    assert web == "p@ss:wörd/ http://127.0.0.1:4200/api"
