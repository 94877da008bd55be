"""A step: a Prefect task around an asynchronous function, so that it stands in the run's graph with its time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

A = ParamSpec("A")
R = TypeVar("R")


def step(name: str) -> Callable[[Callable[A, Coroutine[Any, Any, R]]], Callable[A, Awaitable[R]]]:
    """Results stay in the process and inputs are not hashed: the queue and the storage hold what must last."""

    def wrap(body: Callable[A, Coroutine[Any, Any, R]]) -> Callable[A, Awaitable[R]]:
        return task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)(body)

    return wrap
