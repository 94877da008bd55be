"""Every use of Prefect that its documentation does not promise, in one place.

The names exist in 3.8.8 and 3.9.1, which our bounds on the version admit; `tests/warm/test_private.py` and the tests
with a real server hold them. Imported by the child as well as by the worker.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import functools
import os
import signal
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar, cast
from uuid import UUID

import anyio
import httpx
from prefect._internal import control_listener
from prefect._internal.metrics import RunMetrics
from prefect.client import orchestration
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.context import SyncClientContext
from prefect.engine import _drive_run_flow_result, handle_engine_signals
from prefect.exceptions import Abort, ObjectNotFound, TerminationSignal
from prefect.flow_engine import load_flow_run, run_flow
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger
from prefect.runner._hook_runner import HookRunner
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings
from prefect.states import Crashed
from prefect.utilities.engine import propose_state
from prefect.workers.base import BaseJobConfiguration, BaseWorker
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

__all__ = [
    "PrefectWorker",
    "TerminationSignal",
    "asked_once",
    "claim_cancellation",
    "execute",
    "settings_environment",
    "shared_client",
]

#: The engine leaves it to the worker to say Cancelled: that must mean that the process has stopped.
_WORKER_SAYS_CANCELLED = {"PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false"}

#: Between two attempts to report an end while the server is away, in seconds.
_LONGEST_PAUSE = 5.0

Answer = TypeVar("Answer")


def asked_once() -> contextlib.AbstractContextManager[Any]:
    """Calls of the API in here fail at once.

    For calls that are repeated anyway: the client pauses up to half a minute between its own attempts, and the server
    would be back long before.
    """
    return temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0})


def _server_is_away(error: BaseException) -> bool:
    """Or wants to be left alone for a while."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code in (408, 429)
    return isinstance(error, httpx.TransportError)


def settings_environment() -> dict[str, str]:
    """The settings of this process, as variables for a child.

    The worker has checked the server's version; each run would ask again, and no child could start without a server.
    """
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    return {**settings, "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false"}


def claim_cancellation() -> None:
    """In the child: a SIGTERM from now on means that the run is cancelled, not that it crashes."""
    control_listener._set_intent("cancel")


@contextlib.contextmanager
def shared_client() -> Iterator[None]:
    """In the child: what Prefect makes anew for each client of its API, several times a run, is made once.

    Each time it would read the bundle of certificates (20 ms of CPU, also for plain HTTP) and ask for the server's
    version. Only the context that Prefect itself makes is shared, since others may change theirs.
    """
    vars(orchestration)["ssl"] = _Tls
    try:
        with SyncClientContext.get_or_create():
            yield
    finally:
        vars(orchestration)["ssl"] = ssl


class _Tls:
    """The part of `ssl` that Prefect's clients use."""

    SSLContext, CERT_NONE = ssl.SSLContext, ssl.CERT_NONE

    @staticmethod
    def create_default_context(cafile: str | None = None) -> ssl.SSLContext:
        # Without a file it is about to be told to verify nothing: such a one is not for others.
        return _verified(cafile) if cafile else ssl.create_default_context()


@functools.cache
def _verified(cafile: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=cafile)


def execute(flow_run_id: UUID, load: Callable[[], Flow[..., Any]]) -> tuple[int, str | None]:
    """Execute one flow run as `python -m prefect.engine` does, on the main thread.

    Answers with an exit code, 0 when the engine has reported how the run ended, and with what went wrong otherwise.
    Raises `TerminationSignal` when the process was told to end and that was no cancellation.
    """
    control_listener.stop()
    control_listener.clear_intent()
    control_listener.configure_from_env()  # forgets that the former run's outcome was reported
    os.environ.update(_WORKER_SAYS_CANCELLED)
    problem: str | None = None
    terminated, flow = False, None
    try:
        with handle_engine_signals(flow_run_id):
            try:
                run = load_flow_run(flow_run_id=flow_run_id)
                log = flow_run_logger(flow_run=run)
                flow = load()
                with RunMetrics(run, flow):
                    _drive_run_flow_result(flow, run_flow(flow, flow_run=run, error_logger=log))  # type: ignore[arg-type]  # as Prefect calls it
            except TerminationSignal:
                terminated = control_listener.get_intent() is None
                if flow and not terminated:
                    _run_cancellation_hooks(flow, flow_run_id)
                raise
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                raise
    except SystemExit as end:  # how handle_engine_signals ends a run
        if terminated:  # also where the engine has reported the crash, which it takes for an ordinary end
            raise TerminationSignal(signal.SIGTERM) from None
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
        return code, problem if code else None
    return 0, None


def _run_cancellation_hooks(flow: Flow[..., Any], flow_run_id: UUID) -> None:
    """As Prefect's runner does; in here, since the worker does not import flows. Nothing if the run ended before."""
    if not flow.on_cancellation_hooks:
        return

    async def resolve(_flow_run: FlowRun) -> Flow[..., Any]:
        return flow

    flow_run = load_flow_run(flow_run_id=flow_run_id)
    if flow_run.state:
        asyncio.run(HookRunner(resolve_flow=resolve).run_cancellation_hooks(flow_run, flow_run.state))


class PrefectWorker(BaseWorker[Any, Any, Any], abc.ABC):
    """What our worker needs of `BaseWorker` beside its public methods."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._polling = asyncio.Lock()
        self._in_hand: set[UUID] = set()
        self._freed = anyio.Event()
        self._over = False

    async def teardown(self, *exc_info: Any) -> None:
        self._over = True
        await super().teardown(*exc_info)

    def admit(self, runs: int) -> None:
        """Take no more than so many runs at once."""
        self._limit = min(self._limit or runs, runs)
        self._limiter = anyio.CapacityLimiter(self._limit)

    @property
    def limit(self) -> int | None:
        return self._limit

    @property
    def pool_is_known(self) -> bool:
        return self._work_pool is not None

    @contextlib.contextmanager
    def _until_teardown(self) -> Iterator[anyio.CancelScope]:
        with anyio.CancelScope() as scope:
            self._scheduled_task_scopes.add(scope)
            if self._over:  # the others have been cancelled already
                scope.cancel()
            try:
                yield scope
            finally:
                self._scheduled_task_scopes.discard(scope)

    def background(self, work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Start it beside the runs, which its failure must not touch; it is cancelled at the worker's end."""

        async def beside() -> None:
            with self._until_teardown():
                try:
                    await work(*args)
                except Exception as error:  # noqa: BLE001  # the outermost loop of this task
                    self._logger.warning("warm_background_failed work=%s error=%r", work.__name__, error)

        assert self._runs_task_group is not None
        self._runs_task_group.start_soon(beside)

    async def answered(self, call: Callable[..., Awaitable[Answer]], *args: Any, **kwargs: Any) -> Answer:
        """Ask until the server answers: an end that it does not hear of would leave a run Running for ever."""

        def tell(attempt: RetryCallState) -> None:
            error = attempt.outcome.exception() if attempt.outcome else None
            self._logger.warning("warm_server_away attempt=%s error=%r", attempt.attempt_number, error)

        async def once() -> Answer:
            with asked_once():
                return await call(*args, **kwargs)

        pause = wait_random_exponential(multiplier=0.5, max=_LONGEST_PAUSE)
        return await AsyncRetrying(retry=retry_if_exception(_server_is_away), wait=pause, before_sleep=tell)(once)

    async def propose_crashed(self, flow_run: UUID, message: str) -> None:
        """The server refuses it where the run has ended already."""
        with contextlib.suppress(Abort, ObjectNotFound):
            await self.answered(propose_state, self.client, Crashed(message=message), flow_run_id=flow_run)

    async def all_reported(self) -> None:
        """Wait until no run is in hand."""
        while self._in_hand:
            self._freed = anyio.Event()
            await self._freed.wait()

    @abc.abstractmethod
    def on_slot_freed(self) -> None:
        """A run has ended, and the next one can be taken."""

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """One look at a time: two that overlap could take the same run twice.

        A server that is away must not end the worker, as it does Prefect's own after some minutes: runs are under way.
        """
        async with self._polling:
            try:
                return await super().get_and_submit_flow_runs()
            except httpx.HTTPError as error:
                if not _server_is_away(error):
                    raise
                self._logger.warning("warm_server_away error=%r", error)
                return []

    async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
        with asked_once():
            return await super()._get_scheduled_flow_runs()

    async def _submit_scheduled_flow_runs(self, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
        # An answer of the server may be older than our start of a run in it.
        fresh = [entry for entry in flow_run_response if entry.flow_run.id not in self._in_hand]
        return await super()._submit_scheduled_flow_runs(fresh)

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """From Scheduled to the reported end, in Prefect's place.

        Its own way reads the deployment twice and proposes Submitting before anything starts: one call of the API
        after the other, 0.2 s in all. Here what can be asked meanwhile is, and the rest is told afterwards.
        """
        self._in_hand.add(flow_run.id)
        with self._until_teardown() as scope:
            await self._submit_and_report(flow_run)
        if scope.cancelled_caught:
            self._logger.error("warm_run_unreported flow_run_id=%s the server did not answer in time", flow_run.id)

    async def _submit_and_report(self, flow_run: FlowRun) -> None:
        pending, configuration = await asyncio.gather(
            self._propose_pending_state(flow_run), self._configure(flow_run), return_exceptions=True
        )
        self._submitting_flow_run_ids.discard(flow_run.id)
        try:
            if pending is not True:
                return  # not ours, or the server is away: then it is still there to be taken
            if isinstance(configuration, BaseException):
                await self.propose_crashed(flow_run.id, f"It could not be prepared: {configuration}")
            else:
                await self._carry_out(flow_run, configuration)
        except Exception:  # the outermost loop of a run: others are under way beside it
            self._logger.exception("warm_run_failed flow_run_id=%s", flow_run.id)
        finally:
            self._release_limit_slot(flow_run.id)

    async def _configure(self, flow_run: FlowRun) -> BaseJobConfiguration:
        configuration: BaseJobConfiguration = await self.job_configuration.resolve_for_flow_run(
            flow_run,
            client=self.client,
            work_pool=self.work_pool.model_copy(deep=True),
            worker_name=self.name,
            worker_id=self.backend_id,
        )
        return configuration

    async def _carry_out(self, flow_run: FlowRun, configuration: BaseJobConfiguration) -> None:
        submitted = self._emit_flow_run_submitted_event(configuration)
        status = _Started(lambda place: self.background(self._tell_place, flow_run.id, place))
        result = await self.run(flow_run, configuration, cast(Any, status))
        if submitted:
            self._emit_flow_run_executed_event(result, configuration, submitted)

    async def _tell_place(self, flow_run_id: UUID, place: str) -> None:
        """For people who look at the run."""
        await self.client.update_flow_run(flow_run_id=flow_run_id, infrastructure_pid=place)
        await self._give_worker_labels_to_flow_run(flow_run_id)

    def _release_limit_slot(self, flow_run_id: UUID) -> None:
        super()._release_limit_slot(flow_run_id)
        self._in_hand.discard(flow_run_id)
        self._freed.set()
        self.on_slot_freed()


class _Started:
    """What `run` gets as task status: calls `tell` with the place once there is one."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def started(self, value: str | Exception) -> None:
        if isinstance(value, str):
            self._tell(value)
