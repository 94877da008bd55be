from __future__ import annotations

import signal
from pathlib import Path

import pytest

from deployments import demo, doctor
from deployments.findings import failed, passed
from deployments.stack.errors import HomeInUse


def test_a_healthy_doctor_ends_with_0(longtake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "checks", lambda _settings, **_: [passed("python", "3.12")])
    answer = longtake("doctor")
    assert (answer.code, answer.out) == (0, "✓ python          3.12\n")


def test_a_doctor_that_finds_something_ends_with_1_and_says_what_to_do(longtake, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "checks", lambda _settings, **_: [failed("disk", "0.1 GB free", "Make room.")])
    answer = longtake("doctor")
    assert answer.code == 1
    assert "✗ disk" in answer.out
    assert "Make room." in answer.out


def test_the_doctor_tells_programs_the_same(longtake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "checks", lambda _settings, **_: [failed("disk", "0.1 GB free", "Make room.")])
    assert longtake("doctor", "--json").document == {
        "ok": False,
        "checks": [{"name": "disk", "ok": False, "detail": "0.1 GB free", "fix": "Make room."}],
    }


def test_the_real_doctor_runs_without_a_server(longtake) -> None:
    answer = longtake("doctor", "--json")
    assert answer.code == 1
    assert [check["name"] for check in answer.document["checks"] if not check["ok"]] == ["server"]


def test_a_demo_that_is_told_to_stop_says_that_nothing_is_left(longtake, home: Path, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(demo, "run_demo", interrupted)
    answer = longtake("demo", "--json")
    assert answer.code == 130
    assert answer.document["error"]["code"] == "interrupted"


def test_a_demo_refuses_pictures_that_cannot_be_read_before_it_starts_anything(longtake, monkeypatch, pictures) -> None:
    monkeypatch.setattr(demo, "run_demo", lambda *_: pytest.fail("it started"))
    pictures[0].write_text("this is no picture")
    assert longtake("demo", *pictures).code == 2


def test_a_home_that_is_in_use_is_told_with_what_to_do(longtake, monkeypatch) -> None:
    def in_use(*_: object) -> None:
        raise HomeInUse("Longtake already runs in /home/me/.longtake (process 7).", "Stop it.")

    monkeypatch.setattr(demo, "run_demo", in_use)
    answer = longtake("demo")
    assert answer.code == 1
    assert answer.err.splitlines() == [
        "error: Longtake already runs in /home/me/.longtake (process 7).",
        "       Stop it.",
    ]


def test_up_passes_its_options_on_as_settings(longtake, monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.stack import up

    seen = []
    monkeypatch.setattr(up, "up", lambda settings, say: seen.append(settings) or 0)
    assert longtake("up", "--gpu-slots", 2, "--port", 4200).code == 0
    assert (seen[0].gpu_slots, seen[0].server_port) == (2, 4200)


def test_up_refuses_slots_that_make_no_sense(longtake) -> None:
    answer = longtake("up", "--gpu-slots", 0)
    assert answer.code == 2
    assert "LONGTAKE_GPU_SLOTS" in answer.err
