"""What a child hears, and in which order it may come."""

from __future__ import annotations

import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from prefect._internal import control_listener

from deployments.warm.inbox import Inbox
from deployments.warm.messages import Cancel, Exit, Prepare, Run, encode
from tests.waiting import until

RUN = Run(flow_run_id=uuid.uuid4(), entrypoint="a.b")
CANCEL = Cancel(flow_run_id=RUN.flow_run_id)


class Child:
    """An inbox in this process, and the parent's end of its socket."""

    def __init__(self) -> None:
        self._parent, theirs = socket.socketpair()
        # So patient that this process has ended before its inbox would end it as an orphan.
        self.tell(Prepare(lane_file=Path("lane"), start_seconds=1, orphan_seconds=600, grace_seconds=600))
        self.inbox = Inbox(theirs)
        self.inbox.listen()

    def tell(self, *messages: Prepare | Run | Cancel | Exit) -> None:
        self._parent.sendall(b"".join(map(encode, messages)))


@pytest.fixture
def child() -> Iterator[Child]:
    yield Child()
    control_listener.reset_for_testing()


def test_a_run_that_is_cancelled_before_it_begins_does_not_begin(child: Child) -> None:
    child.tell(RUN, CANCEL)
    until(lambda: child.inbox.cancelled, "the cancel", 5)
    assert child.inbox.next_run() is None


def test_a_cancel_that_comes_after_the_end_ends_the_child_all_the_same(child: Child) -> None:
    child.tell(RUN)
    assert child.inbox.next_run() == RUN
    child.inbox.end()
    child.tell(CANCEL)
    assert child.inbox.next_run() is None


def test_a_cancel_interrupts_the_run_under_way(child: Child) -> None:
    def hear(_number: int, _frame: object) -> NoReturn:
        raise InterruptedError

    def work_while_cancelled() -> None:
        child.tell(CANCEL)
        threading.Event().wait(5)

    before = signal.signal(signal.SIGTERM, hear)
    try:
        child.tell(RUN)
        assert child.inbox.next_run() == RUN
        with pytest.raises(InterruptedError):
            work_while_cancelled()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert control_listener.get_intent() == "cancel"


def test_an_exit_comes_after_the_run_before_it(child: Child) -> None:
    child.tell(RUN, Exit())
    assert child.inbox.next_run() == RUN
    child.inbox.end()
    assert child.inbox.next_run() is None
