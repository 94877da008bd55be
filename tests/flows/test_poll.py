from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from flows.poll import seconds_left

MINUTE = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_run_that_began_in_time_ends_just_before_its_successor_is_due() -> None:
    assert seconds_left(MINUTE + timedelta(seconds=3), 60.0) == 55.0


def test_a_run_started_by_hand_in_mid_period_ends_before_the_scheduled_one_all_the_same() -> None:
    assert seconds_left(MINUTE + timedelta(seconds=40), 60.0) == 18.0


def test_a_run_that_begins_with_its_successor_at_the_door_looks_once_and_leaves() -> None:
    assert seconds_left(MINUTE + timedelta(seconds=59), 60.0) == 0.0


@given(moment=st.floats(0, 4e9), period=st.floats(5, 600))
def test_no_run_is_left_when_the_next_one_is_due(moment: float, period: float) -> None:
    now = datetime.fromtimestamp(moment, UTC)
    left = seconds_left(now, period)
    assert left == 0 or now.timestamp() // period == (now.timestamp() + left) // period
