"""What Prefect does not promise and the warm worker uses: that it is there, and means what we take it to mean."""

from __future__ import annotations

import inspect
import os
import ssl
import uuid
from typing import Any

import certifi
import pytest
from prefect import engine, flow_engine
from prefect._internal import control_listener
from prefect.client import orchestration
from prefect.client.orchestration import get_client
from prefect.runner._hook_runner import HookRunner
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.utilities.engine import capture_sigterm
from prefect.workers.base import BaseWorker

from deployments.warm import private
from deployments.warm.worker import WarmWorker


@pytest.mark.parametrize(
    "name",
    [
        "_emit_flow_run_executed_event",
        "_emit_flow_run_submitted_event",
        "_get_scheduled_flow_runs",
        "_give_worker_labels_to_flow_run",
        "_propose_pending_state",
        "_release_limit_slot",
        "_submit_run",
        "_submit_scheduled_flow_runs",
    ],
)
def test_the_methods_of_the_base_worker_are_there(name: str) -> None:
    assert callable(getattr(BaseWorker, name))


def test_so_are_its_fields() -> None:
    worker = WarmWorker(work_pool_name="p")
    fields = {
        "_limit",
        "_limiter",
        "_runs_task_group",
        "_scheduled_task_scopes",
        "_submitting_flow_run_ids",
        "_work_pool",
    }
    assert fields <= set(vars(worker))


def test_prefect_finds_the_worker_by_its_type() -> None:
    assert BaseWorker.get_worker_class_from_type("warm") is WarmWorker


def test_no_type_is_registered_for_the_base_of_ours() -> None:
    kinds = BaseWorker.get_all_available_worker_types()
    assert [kind for kind in kinds if BaseWorker.get_worker_class_from_type(kind) is private.PrefectWorker] == []


def test_a_cancellation_that_is_claimed_is_what_the_engine_sees() -> None:
    try:
        private.claim_cancellation()
        assert flow_engine._termination_intent() == "cancel"
        with pytest.raises(SystemExit) as end, engine.handle_engine_signals():
            raise private.TerminationSignal(15)
        assert end.value.code == 0
        assert control_listener.get_intent() is None  # taken
    finally:
        control_listener.reset_for_testing()


def test_hooks_are_run_as_prefects_runner_runs_them() -> None:
    assert "resolve_flow" in inspect.signature(HookRunner).parameters
    assert list(inspect.signature(HookRunner.run_cancellation_hooks).parameters) == ["self", "flow_run", "state"]


def test_without_one_the_signal_goes_on() -> None:
    with pytest.raises(private.TerminationSignal), engine.handle_engine_signals():
        raise private.TerminationSignal(15)


def test_the_signal_reaches_the_engine_as_an_exception() -> None:
    private.claim_cancellation()
    try:
        with pytest.raises(private.TerminationSignal), capture_sigterm():
            os.kill(os.getpid(), 15)
    finally:
        control_listener.reset_for_testing()


def test_what_the_engine_did_not_report_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot_load() -> Any:
        raise AssertionError("not reached")

    nobody = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    monkeypatch.setenv("PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS", "true")
    with temporary_settings(nobody):
        code, problem = private.execute(uuid.uuid4(), cannot_load)
    assert code == 1
    assert "Connect" in str(problem)
    assert os.environ["PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS"] == "false"


def test_clients_of_one_child_share_one_reading_of_the_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED", "false")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), private.shared_client():
        assert get_client(sync_client=True) is get_client(sync_client=True)
        shared = orchestration.ssl.create_default_context(cafile=certifi.where())
        assert shared is orchestration.ssl.create_default_context(cafile=certifi.where())
        assert shared.verify_mode is ssl.CERT_REQUIRED
        assert orchestration.ssl.create_default_context() is not orchestration.ssl.create_default_context()
    assert orchestration.ssl is ssl
