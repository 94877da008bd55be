"""The worker type `warm`: flow runs execute in children that stay, with imports done and models loaded.

Found by Prefect through the entry point `prefect.collections`; `prefect worker start --pool <pool>` starts it.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_HOME
from prefect.states import Cancelled
from prefect.workers.base import BaseWorkerResult

from deployments.requirements import WORKSPACE, Pool, missing_for_worker
from deployments.warm.configuration import WarmJobConfiguration, WarmVariables
from deployments.warm.hand import RunInHand
from deployments.warm.lanes import Lanes
from deployments.warm.places import places, visible_gpus
from deployments.warm.plan import Limits
from deployments.warm.private import PrefectWorker, asked_once, settings_environment
from deployments.warm.signals import ended_by_signals
from deployments.warm.wakeup import Bell, PoolEvents

#: Cancellations heard of before their run was in hand; those of other workers' runs are among them.
_REMEMBERED = 1000
#: How long after the news of a new run the server has surely committed it.
_COMMITTED_SECONDS = 1.0
#: What reports of ended runs may take while the worker stops.
_REPORT_SECONDS = 10.0
#: `longtake up` starts its workers and its set-up at once; the block is written within seconds.
_SETUP_SECONDS, _LOOK_SECONDS = 20.0, 0.2


class WarmWorkerResult(BaseWorkerResult):
    """The identifier is <host>:<pid of the child>, empty where there was none."""


class WarmWorker(PrefectWorker):
    type = "warm"
    job_configuration = WarmJobConfiguration
    job_configuration_variables = WarmVariables
    _display_name = "Warm"
    _description = "Executes flow runs in warm child processes that keep imports and models: one for each GPU or slot."

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lanes: Lanes | None = None
        self._limits = Limits()
        self._children = AsyncExitStack()
        self._bell = Bell()
        self._hands: dict[UUID, RunInHand] = {}
        self._cancelled: deque[UUID] = deque(maxlen=_REMEMBERED)
        self._announced: set[UUID] = set()  # and not yet in hand
        self._draining = False
        self._hurry = anyio.Event()

    async def start(self, *args: Any, **kwargs: Any) -> None:
        with ended_by_signals(hurry=self._hurry.set):
            await super().start(*args, **kwargs)

    async def sync_with_backend(self) -> None:
        await super().sync_with_backend()
        if self._lanes:
            await self._look_for_cancelled()
        elif self.pool_is_known:
            await self._start_children()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: WarmJobConfiguration,
        task_status: anyio.abc.TaskStatus[Any] | None = None,
    ) -> WarmWorkerResult:
        """In a warm child, to its end. Every end is reported when this returns."""
        assert self._lanes
        self._announced.discard(flow_run.id)
        hand = self._hands[flow_run.id] = RunInHand(flow_run.id, self)
        if flow_run.id in self._cancelled:
            await self._cancel_if_asked(hand)
        if self._draining:
            hand.give_up()
        started = (task_status or anyio.TASK_STATUS_IGNORED).started
        try:
            want, env = configuration.want(flow_run), configuration.run_environment()
            place, code = await hand.carry_out(self._lanes, want, env, started)
        finally:
            del self._hands[flow_run.id]
        return WarmWorkerResult(identifier=place, status_code=code)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        return [] if self._draining else await super().get_and_submit_flow_runs()

    def on_slot_freed(self) -> None:
        self._bell.ring()

    async def teardown(self, *exc_info: Any) -> None:
        """No new runs; those under way may finish within `drain_seconds` and are stopped then, and reported."""
        self._draining = True
        for hand in self._hands.values():
            hand.give_up()
        if self._lanes:
            with anyio.move_on_after(self._limits.drain_seconds):
                async with anyio.create_task_group() as hurried:
                    hurried.start_soon(self._cancel_when_hurried, hurried.cancel_scope)
                    await self._lanes.idle()
                    hurried.cancel_scope.cancel()
        await self._children.aclose()
        with anyio.move_on_after(_REPORT_SECONDS):
            await self.all_reported()
        await super().teardown(*exc_info)

    async def crashed(self, flow_run: UUID, message: str) -> None:
        """Cancelled instead, where somebody has asked for that meanwhile: the server then refuses Crashed."""
        state = await self._unfinished(flow_run)
        if state and not state.is_cancelling():
            await self.propose_crashed(flow_run, message)
            state = await self._unfinished(flow_run)
        if state and state.is_cancelling():
            await self.cancelled(flow_run)

    async def cancelled(self, flow_run: UUID) -> None:
        if await self._unfinished(flow_run):
            state: State[Any] = Cancelled(message="The run was cancelled and its process has ended.")
            await self.answered(self.client.set_flow_run_state, flow_run, state, force=True)

    async def _unfinished(self, flow_run: UUID) -> State[Any] | None:
        """Its state; None if it has ended by itself, or was deleted."""
        try:
            state = (await self.answered(self.client.read_flow_run, flow_run)).state
        except ObjectNotFound:
            return None
        return None if state is None or state.is_final() else state

    async def _start_children(self) -> None:
        template = self.work_pool.base_job_template
        configuration: WarmJobConfiguration = await WarmJobConfiguration.from_template_and_values(
            base_job_template=template, values={}, client=self.client
        )
        await _refuse_if_incomplete(self.work_pool.name, configuration, self.client)
        self._limits = configuration.limits()
        each = configuration.children_per_gpu
        gpus = (configuration.gpus or visible_gpus(os.environ)) if each else []
        limit = self.limit or self.work_pool.concurrency_limit
        where = places(gpus, each, limit, f"{self.work_pool.name}-{self.name}")
        self.admit(len(where))
        env = {**os.environ, **settings_environment()}
        self._lanes = Lanes(where, configuration.plan(), self._limits, PREFECT_HOME.value(), env, self._logger)
        await self._children.enter_async_context(self._lanes)
        events = PoolEvents(
            self.work_pool.id,
            on_scheduled=self._on_scheduled,
            on_cancelling=self._on_cancelling,
            on_gap=self._look_around,
            log=self._logger,
        )
        self.background(events.listen)
        self.background(self._bell.answer, self.get_and_submit_flow_runs, self._logger)

    def _on_scheduled(self, flow_run: UUID) -> None:
        self._announced.add(flow_run)
        self._bell.ring()
        self.background(self._look_again, flow_run)

    async def _look_again(self, flow_run: UUID) -> None:
        """The server tells of a new run before it commits it, so that the first look may have come too early."""
        await anyio.sleep(_COMMITTED_SECONDS)
        if flow_run in self._announced:
            self._announced.discard(flow_run)
            self._bell.ring()

    def _on_cancelling(self, flow_run: UUID) -> None:
        self._cancelled.append(flow_run)
        if hand := self._hands.get(flow_run):
            self.background(self._cancel_if_asked, hand)

    async def _cancel_if_asked(self, hand: RunInHand) -> None:
        """An event may be an old one, of an attempt before somebody let the same run start again."""
        if (state := await self._unfinished(hand.flow_run)) and state.is_cancelling():
            hand.cancel()

    async def _look_around(self) -> None:
        """What events would have told."""
        self._bell.ring()
        await self._look_for_cancelled()

    async def _look_for_cancelled(self) -> None:
        if self._hands:
            cancelling = FlowRunFilter(
                id=FlowRunFilterId(any_=list(self._hands)),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING])),
            )
            with asked_once():
                found = await self.client.read_flow_runs(flow_run_filter=cancelling)
            for run in found:
                self._on_cancelling(run.id)

    async def _cancel_when_hurried(self, drain: anyio.CancelScope) -> None:
        await self._hurry.wait()
        drain.cancel()


async def _refuse_if_incomplete(name: str, configuration: WarmJobConfiguration, client: PrefectClient) -> None:
    """Raises `SystemExit` when the machine lacks what the pool is for, after a line for each problem."""
    pool = Pool(name, configuration.models, configuration.gpus, configuration.children_per_gpu)
    workspace = await _workspace(client) if pool.makes_media else None
    if problems := missing_for_worker(pool, workspace, [PREFECT_HOME.value()]):
        sys.stderr.writelines(f"{problem}\n" for problem in problems)
        raise SystemExit(1)


async def _workspace(client: PrefectClient) -> dict[str, Any] | None:
    """What the block says, unread: its classes would bring queue and storage along. A set-up may be writing it now."""
    slug, name = WORKSPACE
    with anyio.move_on_after(_SETUP_SECONDS):
        while True:
            try:
                return (await client.read_block_document_by_name(name, slug, include_secrets=False)).data
            except ObjectNotFound:
                await anyio.sleep(_LOOK_SECONDS)
    return None
