"""What worker and child say to each other."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from deployments.warm.messages import (
    BadMessage,
    Cancel,
    Ended,
    Exit,
    Prepare,
    Problem,
    Ready,
    Run,
    decode_for_child,
    decode_for_parent,
    encode,
)

RUN = uuid.uuid4()
PREPARE = Prepare(lane_file=Path("/x"), models=("wan:a",), start_seconds=1, orphan_seconds=0, grace_seconds=2)


@pytest.mark.parametrize("message", [PREPARE, Run(flow_run_id=RUN, entrypoint="a.b", env={"A": "ü\n"}), Exit()])
def test_what_the_parent_says_arrives_in_one_line(message: Prepare | Run | Exit) -> None:
    assert encode(message).count(b"\n") == 1
    assert decode_for_child(encode(message)) == message


@pytest.mark.parametrize("message", [Ready(pid=1, seconds=0.5), Ended(flow_run_id=RUN, code=0), Problem(text="no")])
def test_what_the_child_says_arrives(message: Ready | Ended | Problem) -> None:
    assert decode_for_parent(encode(message)) == message


def test_the_model_used_last_is_the_current_one() -> None:
    assert Ended(flow_run_id=RUN, code=0, models=("wan:a", "image:b")).current_model == "wan:a"
    assert Ended(flow_run_id=RUN, code=0).current_model is None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"hello\n", "JSON"),
        (b'{"kind": "dance"}\n', "dance"),
        (b'{"kind": "run", "flow_run_id": "seven", "entrypoint": "a.b"}\n', "flow_run_id"),
        (b'{"kind": "exit", "now": true}\n', "now"),
        (encode(Problem(text="for the other side")), "problem"),
    ],
)
def test_anything_else_is_refused_with_a_reason(line: bytes, why: str) -> None:
    with pytest.raises(BadMessage, match=why):
        decode_for_child(line)


def test_a_cancel_names_its_run() -> None:
    with pytest.raises(BadMessage, match="flow_run_id"):
        decode_for_child(b'{"kind": "cancel"}')
    assert decode_for_child(encode(Cancel(flow_run_id=RUN))) == Cancel(flow_run_id=RUN)
