"""Where a command's words go: the result to stdout, everything else to stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from deployments.cli.exits import Refusal

if TYPE_CHECKING:
    from rich.console import Console

#: Wide enough for any row of ours: output that goes into a pipe is not broken into lines.
_PIPE_WIDTH = 250
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and newline


class Screen:
    """With `as_json`, stdout carries exactly one document and what is said to people goes to stderr."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    @property
    def is_live(self) -> bool:
        """Whether a person looks at it as it changes."""
        return sys.stdout.isatty() and not self.as_json

    def say(self, line: str = "") -> None:
        print(_tame(line), file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def warn(self, line: str) -> None:
        print(f"warning: {_tame(line)}", file=sys.stderr, flush=True)

    def document(self, document: Any) -> None:
        """The result, if a program asked for it."""
        if self.as_json:
            print(json.dumps(document, ensure_ascii=False, indent=2), flush=True)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        from rich.table import Table

        table = Table(*head, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*(_escaped(cell) for cell in row))
        console = self.console()
        with console.capture() as drawn:
            console.print(table)
        print(drawn.get(), end="", flush=True)  # ourselves: rich ends the program in its own way when nobody reads

    def console(self) -> Console:
        from rich.console import Console

        return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)

    def refuse(self, refusal: Refusal) -> None:
        """One or two lines: what and why, then what to do. A program gets the same as a document."""
        print(f"error: {_one_line(refusal.message)}", file=sys.stderr)
        if refusal.hint:
            print(f"       {_one_line(refusal.hint)}", file=sys.stderr)
        self.document(
            {
                "error": {
                    "code": refusal.code,
                    "message": refusal.message,
                    "hint": refusal.hint,
                    "exit_code": int(refusal.exit_code),
                }
            }
        )


def _one_line(text: str) -> str:
    return _tame(" ".join(text.split()))


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(_tame(text))


def _tame(text: str) -> str:
    """Without control characters: what a user of the queue wrote must not steer the terminal of who reads it."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
