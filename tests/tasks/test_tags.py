from __future__ import annotations

from typing import Any

import pytest

from blocks.engine import EngineChoice
from blocks.queue.memory import MemoryQueue
from blocks.queue.model import Task, TaskSpec
from tasks.tags import tags


def enqueued(task_type: str, **params: Any) -> Task:
    (entry,) = MemoryQueue().enqueue(TaskSpec(task_type, params))
    return entry.task


def model_tags(task: Task, engines: EngineChoice) -> list[str]:
    return [tag for tag in tags(task, 1, engines) if tag.startswith("model:")]


def test_a_run_is_tagged_with_the_model_it_will_load() -> None:
    engines = EngineChoice(video="wan", video_model="/models/flf2v", image="sketch")
    assert model_tags(enqueued("generate_video"), engines) == ["model:wan:/models/flf2v"]
    assert model_tags(enqueued("generate_video", model="a/b"), engines) == ["model:wan:a/b"]
    assert model_tags(enqueued("single_image", prompt="sea"), engines) == ["model:sketch:landscape"]
    assert model_tags(enqueued("travel_stitch"), engines) == []


@pytest.mark.parametrize("name", [7, ["a"], {"a": 1}])
def test_a_model_name_that_is_none_does_not_stop_the_dispatch(name: object) -> None:
    assert model_tags(enqueued("single_image", prompt="sea", model=name), EngineChoice()) == []


def test_an_engine_that_is_not_there_does_not_stop_the_dispatch() -> None:
    assert model_tags(enqueued("single_image", prompt="sea"), EngineChoice(image="nonsense")) == []
