from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.poll import seconds_left

MINUTE = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_run_that_began_in_time_ends_just_before_its_successor_is_due() -> None:
    assert seconds_left(MINUTE + timedelta(seconds=3), 60.0) == 55.0


def test_a_run_started_by_hand_in_mid_period_ends_before_the_scheduled_one_all_the_same() -> None:
    assert seconds_left(MINUTE + timedelta(seconds=40), 60.0) == 18.0


def test_a_run_that_begins_with_its_successor_at_the_door_takes_its_place() -> None:
    assert seconds_left(MINUTE + timedelta(seconds=55), 60.0) == 63.0


@given(moment=st.floats(0, 4e9), period=st.floats(5, 600))
def test_every_run_ends_two_seconds_before_one_is_due(moment: float, period: float) -> None:
    now = datetime.fromtimestamp(moment, UTC)
    left = seconds_left(now, period)
    assert 0 < left <= period * 7 / 6
    assert (now.timestamp() + left + 2.0) % period == pytest.approx(0, abs=1e-3) or (
        now.timestamp() + left + 2.0
    ) % period == pytest.approx(period, abs=1e-3)
