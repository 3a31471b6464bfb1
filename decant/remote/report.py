"""What a program reports while it runs, line by line."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from decant.output import Output
from decant.program import Program
from decant.steps import Step, Transaction

if TYPE_CHECKING:
    pass


@dataclass
class Report:
    """What a program did: its steps by status, and the values that procedures told.

    `reasons` has a word for each of `differs`: missing, edited, or nothing.
    """

    changed: list[Step] = field(default_factory=list)
    ok: list[Step] = field(default_factory=list)
    would: list[Step] = field(default_factory=list)
    differs: list[Step] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    failed: Step | None = None
    log: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)


class Reader:
    """Turn a program's report into a Report, printing as it comes."""

    def __init__(
        self,
        program: Program,
        report: Report,
        output: Output,
        guard: Callable[[str], None],
        hold: str,
    ) -> None:
        self.program, self.report, self.output, self.guard = program, report, output, guard
        self.hold = hold
        self.since = time.monotonic()

    def line(self, text: str) -> None:
        """Take one line of the report."""
        word, _, rest = text.partition("\t")
        number, _, detail = printable(rest).partition("\t")
        if not number.isdigit():
            return
        step = self.program.steps[int(number) - 1] if int(number) else None
        if word in ("ok", "changed", "would", "differs", "failed") and step is not None:
            self._end(word, step)
            if word == "differs":
                self.report.reasons.append(detail)
        elif word == "log":
            self.report.log.append(detail)
        elif word in ("say", "diff"):
            self.output.line(f"  {detail}")
        elif word == "value":
            key, _, value = detail.partition("\t")
            if key == "guard":
                # The program waits, and so do its next lines. Only where it said that it would, and
                # only for its own folder.
                if value == self.hold and any(
                    isinstance(each, Transaction) and each.guarded for each in self.program.steps
                ):
                    self.guard(value)
            else:
                self.report.values[key] = value

    def _end(self, word: str, step: Step) -> None:
        seconds, self.since = time.monotonic() - self.since, time.monotonic()
        if word == "failed":
            self.report.failed = step
            # The last line is the cause, which the error says.
            for line in self.report.log[:-1]:
                self.output.line(f"  | {line}")
        else:
            getattr(self.report, word).append(step)
        if word != "differs":
            self.output.step(word, str(step), seconds)


def printable(text: str) -> str:
    """Return what a server printed without what a terminal would obey.

    A repository or an application may have written it.
    """
    return "".join(char if char.isprintable() or char == "\t" else "?" for char in text)
