"""News of a pool by Prefect's events, so that neither a new run nor a cancellation waits for the next poll.

One websocket hears both. Events can be late or lost, so polling stays as the safety net; while there is no connection
`on_gap` is called at a short interval.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from uuid import UUID

import anyio
from prefect.events import Event
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]

SCHEDULED, CANCELLING = "prefect.flow-run.Scheduled", "prefect.flow-run.Cancelling"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0


class Bell:
    """Many rings, one answer: `answer` runs once more after the last ring, never twice at a time."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def answer(self, call: Callable[[], Awaitable[object]], log: Logger) -> None:
        while True:
            await self._rung.wait()
            self._rung = anyio.Event()
            try:
                await call()
            except Exception as error:  # noqa: BLE001  # the ordinary poll repeats it and counts its failures
                log.warning("warm_wakeup_failed error=%r", error)


class PoolEvents:
    def __init__(
        self,
        pool_id: UUID,
        *,
        on_scheduled: Callable[[UUID], None],
        on_cancelling: Callable[[UUID], None],
        on_gap: Callable[[], Awaitable[None]],
        log: Logger,
    ) -> None:
        self._pool_id, self._log = pool_id, log
        self._on_scheduled, self._on_cancelling, self._on_gap = on_scheduled, on_cancelling, on_gap

    async def listen(self) -> None:
        """For ever; connects again with backoff."""
        pause = _FIRST_PAUSE
        while True:
            try:
                async with get_events_subscriber(filter=self._filter(), reconnection_attempts=0) as events:
                    self._log.debug("warm_events_connected pool=%s", self._pool_id)
                    await self._on_gap()  # what happened before we listened
                    pause = _FIRST_PAUSE
                    async for event in events:
                        self.hear(event)
            except Exception as error:  # noqa: BLE001  # whatever a websocket, a proxy or the server may do
                self._log.debug("warm_events_lost pool=%s error=%r", self._pool_id, error)
            await anyio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311  # spreads workers, hides nothing
            pause = min(_LONGEST_PAUSE, pause * 2)
            try:
                await self._on_gap()
            except Exception as error:  # noqa: BLE001  # the server may be away as a whole
                self._log.debug("warm_gap_failed error=%r", error)

    def hear(self, event: Event) -> None:
        flow_run = UUID(event.resource.id.rpartition(".")[2])
        if event.event == SCHEDULED:
            self._on_scheduled(flow_run)
        elif event.event == CANCELLING:
            self._on_cancelling(flow_run)

    def _filter(self) -> EventFilter:
        return EventFilter(
            event=EventNameFilter(name=[SCHEDULED, CANCELLING]),
            any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{self._pool_id}"]),
        )
