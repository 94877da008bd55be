from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.queue import payload
from blocks.queue.errors import InvalidTask
from blocks.queue.model import TaskSpec
from blocks.queue.policy import (
    BACKOFF_BASE,
    BACKOFF_CAP,
    MAX_TEXT,
    admit,
    backoff,
    check_seconds,
    check_uuid,
    check_worker_id,
    tidy_error,
)

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJl"
SOME_ID = "0b9f4a52-6f0c-4c53-9d5e-0c3a5cb0a7d1"
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abcü "),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", max_size=3), inner, max_size=3),
    max_leaves=8,
)


class TestBackoff:
    @given(attempt=st.integers(1, 200), seed=st.integers())
    def test_it_lies_between_half_and_all_of_the_doubled_base(self, attempt: int, seed: int) -> None:
        full = min(BACKOFF_CAP, BACKOFF_BASE * 2 ** (attempt - 1))
        assert full / 2 <= backoff(attempt, Random(seed)) <= full

    def test_tasks_that_failed_together_do_not_come_back_together(self) -> None:
        random = Random(1)
        assert len({backoff(3, random) for _ in range(50)}) == 50

    def test_it_never_waits_longer_than_the_cap(self) -> None:
        assert backoff(10**9, Random(1)) <= BACKOFF_CAP


class TestSecrets:
    @pytest.mark.parametrize(
        "key",
        [
            "api_key",
            "apiKey",
            "OPENAI-API-KEY",
            "password",
            "db_password",
            "secret",
            "client_secret",
            "access_token",
            "refreshToken",
            "service_role_key",
            "SUPABASE_SERVICE_ROLE_KEY",
            "Authorization",
            "private_key",
        ],
    )
    def test_a_key_that_is_named_like_a_secret_is_refused_by_its_path(self, key: str) -> None:
        with pytest.raises(InvalidTask) as refusal:
            admit(TaskSpec("t", {"clips": [{}, {"auth": {key: "hunter2"}}]}))
        assert refusal.value.data == {"field": "params", "path": f"params.clips[1].auth.{key}"}
        assert f"params.clips[1].auth.{key}" in str(refusal.value)
        assert "hunter2" not in str(refusal.value)

    @pytest.mark.parametrize(
        "value", [JWT, f"Bearer {JWT}", f" {JWT}\n", "sb_secret_abcdefghij", "bearer abc", "Bearer abc.def"]
    )
    def test_a_value_that_is_a_token_is_refused_under_any_key_and_never_shown(self, value: str) -> None:
        with pytest.raises(InvalidTask, match=r"params\.notes\[0\]") as refusal:
            admit(TaskSpec("t", {"notes": [value]}))
        assert value.strip() not in f"{refusal.value} {refusal.value.data}"

    @pytest.mark.parametrize(
        "params",
        [
            {"password": ""},
            {"password": "  "},
            {"secret": None},
            {"api_key": 5},
            {"max_tokens": "100"},
            {"trigger_token": "<cat>"},
            {"secret_garden": "a prompt"},
            {"prompt": "the password is on the wall"},
            {"input": f"https://x.supabase.co/storage/v1/object/sign/a.png?token={JWT}"},
            {"prompt": "eyJ is how a JWT begins"},
            {"key": "sb_publishable_abc"},
        ],
        ids=str,
    )
    def test_what_only_looks_a_little_like_a_secret_is_admitted(self, params: dict[str, object]) -> None:
        assert admit(TaskSpec("t", params)).spec.params == params


class TestParams:
    @given(params=st.dictionaries(st.text("abc", max_size=3), JSON, max_size=4))
    def test_any_json_object_is_stored_as_it_is(self, params: dict[str, object]) -> None:
        admitted = admit(TaskSpec("t", params))
        assert admitted.spec.params == params
        assert json.loads(admitted.params_text) == params

    @given(params=st.dictionaries(st.text("abc", max_size=3), JSON, max_size=4))
    def test_a_body_keeps_its_digest_through_json(self, params: dict[str, object]) -> None:
        again = json.loads(json.dumps(dict(reversed(params.items()))))
        assert admit(TaskSpec("t", params)).digest == admit(TaskSpec("t", again)).digest

    def test_nothing_of_the_stored_params_is_the_callers(self) -> None:
        mine = {"list": [1]}
        admitted = admit(TaskSpec("t", mine))
        mine["list"].append(2)
        assert admitted.spec.params == {"list": [1]}

    @pytest.mark.parametrize(
        ("params", "path"),
        [
            ({"a": {"b": [0, float("nan")]}}, r"params\.a\.b\[1\]"),
            ({"a": {2: 1}}, r"params\.a"),
            ({"a": [object()]}, r"params\.a\[0\]"),
            ({"a": "\ud800"}, r"params\.a"),
            ({"a": 2**63}, r"params\.a"),
        ],
    )
    def test_what_json_cannot_carry_is_refused_by_its_path(self, params: dict[str, object], path: str) -> None:
        with pytest.raises(InvalidTask, match=path):
            admit(TaskSpec("t", params))

    def test_a_bottomless_nesting_is_refused_and_does_not_overflow(self) -> None:
        nested: dict[str, object] = {}
        for _ in range(100_000):
            nested = {"n": nested}
        with pytest.raises(InvalidTask, match="nested deeper"):
            admit(TaskSpec("t", nested))

    def test_the_size_is_counted_in_bytes_of_utf8(self) -> None:
        with pytest.raises(InvalidTask) as refusal:
            admit(TaskSpec("t", {"t": "✓" * 90_000}))
        assert refusal.value.data["size"] == 270_008


class TestBody:
    def test_the_id_is_no_part_of_the_body(self) -> None:
        assert admit(TaskSpec("t", {}, id=SOME_ID)).digest == admit(TaskSpec("t", {})).digest

    def test_the_same_moment_in_another_time_zone_is_the_same_body(self) -> None:
        noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
        elsewhere = noon.astimezone(timezone(timedelta(hours=5)))
        bodies = {admit(TaskSpec("t", {}, scheduled_at=each)).digest for each in (noon, elsewhere)}
        assert len(bodies) == 1

    @pytest.mark.parametrize(
        "other",
        [
            TaskSpec("u", {}),
            TaskSpec("t", {"a": None}),
            TaskSpec("t", {}, priority=1),
            TaskSpec("t", {}, depends_on=(SOME_ID,)),
            TaskSpec("t", {}, parent_id=SOME_ID),
            TaskSpec("t", {}, correlation_id="c"),
            TaskSpec("t", {}, mandate="m"),
            TaskSpec("t", {}, max_ticks=1),
        ],
    )
    def test_whatever_else_a_client_says_is(self, other: TaskSpec) -> None:
        assert admit(other).digest != admit(TaskSpec("t", {})).digest

    def test_true_is_not_one(self) -> None:
        assert payload.digest({"a": True}) != payload.digest({"a": 1})


class TestChecks:
    @pytest.mark.parametrize(
        "value", ["", "x", f"urn:uuid:{SOME_ID}", SOME_ID.replace("-", ""), f"{{{SOME_ID}}}", None, 5]
    )
    def test_only_the_usual_spelling_is_a_uuid(self, value: object) -> None:
        with pytest.raises(InvalidTask, match="id cannot be"):
            check_uuid("id", value)

    @pytest.mark.parametrize("value", [None, 5, b"gpu"])
    def test_a_worker_id_is_text(self, value: object) -> None:
        with pytest.raises(InvalidTask, match="worker_id"):
            check_worker_id(value)

    @pytest.mark.parametrize("value", [True, "60", None, 86_401])
    def test_seconds_are_a_number_up_to_a_day(self, value: object) -> None:
        with pytest.raises(InvalidTask, match="lease"):
            check_seconds("lease", value)

    def test_a_refusal_shows_a_long_value_in_short(self) -> None:
        with pytest.raises(InvalidTask) as refusal:
            admit(TaskSpec("x" * 10_000, {}))
        assert len(str(refusal.value)) < 200

    @given(text=st.text())
    def test_any_error_becomes_one_that_can_be_stored(self, text: str) -> None:
        tidy = tidy_error(text)
        assert 0 < len(tidy) <= MAX_TEXT
        assert payload.is_storable(tidy)
