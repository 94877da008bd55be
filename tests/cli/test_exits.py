from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from blocks.queue import errors
from blocks.storage.protocol import StorageError, StorageUnavailable
from deployments.cli import main
from deployments.cli.exits import ExitCode, explain
from deployments.stack.errors import HomeInUse
from tasks.errors import InvalidInput
from tasks.media.errors import MediaError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidTask("x"), ExitCode.INVALID),
        (errors.UnknownDependency("x"), ExitCode.INVALID),
        (errors.DependencyCycle("x"), ExitCode.INVALID),
        (errors.UnknownTask("x"), ExitCode.NOT_FOUND),
        (errors.TaskConflict("x"), ExitCode.CONFLICT),
        (errors.StaleClaim("x"), ExitCode.CONFLICT),
        (errors.TaskEnded("x"), ExitCode.CONFLICT),
        (errors.NotRetryable("x"), ExitCode.CONFLICT),
        (errors.QueueUnavailable("x"), ExitCode.UNAVAILABLE),
        (StorageUnavailable("x"), ExitCode.UNAVAILABLE),
        (StorageError("x"), ExitCode.INVALID),
        (InvalidInput("x"), ExitCode.INVALID),
        (MediaError("x"), ExitCode.INVALID),
        (HomeInUse("x", "y"), ExitCode.FAILED),
    ],
)
def test_every_expected_error_has_an_exit_code(error: Exception, code: ExitCode) -> None:
    explained = explain(error)
    assert explained is not None
    assert explained.exit_code is code


def test_an_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_tokens: list[str]) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main, "app", broken)
    with pytest.raises(ZeroDivisionError):
        main.run(["version"])


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def interrupted(_tokens: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "app", interrupted)
    assert main.run(["version", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "interrupted"


def test_a_message_of_several_lines_becomes_one(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(_tokens: list[str]) -> None:
        raise InvalidInput("first\n  second")

    monkeypatch.setattr(main, "app", refusing)
    main.run([])
    assert capsys.readouterr().err == "error: first second\n"


def test_a_reader_that_goes_away_is_no_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def fileno(self) -> int:
            return self.sink

        sink = -1

    with Path("/dev/null").open("w") as sink:
        gone = Gone()
        gone.sink = sink.fileno()

        def broken(_tokens: list[str]) -> None:
            raise BrokenPipeError

        monkeypatch.setattr(main, "app", broken)
        monkeypatch.setattr("sys.stdout", gone)
        assert main.run(["version"]) == ExitCode.READER_GONE
