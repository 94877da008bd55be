"""The set-up as a process: it imports Prefect and our flows while the server starts, works, and is gone."""

from __future__ import annotations

from deployments.stack.errors import StackError
from deployments.stack.process import Child, Recipe, tail


class SetupProcess:
    def __init__(self, recipe: Recipe) -> None:
        self._child = Child(recipe)

    def wait_imported(self) -> None:
        self._child.wait_imported()

    def open_gate(self) -> None:
        self._child.open_gate()

    def wait(self) -> None:
        """Until its end. Raises `StackError` with the end of its log."""
        if code := self._child.process.wait():
            log = self._child.recipe.log
            raise StackError(f"The set-up ended with code {code}.\n{tail(log)}\n", f"Its log: {log}")
        self._child.close()

    def end(self) -> None:
        self._child.end(patience=1)
