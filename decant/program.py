"""How plans become one POSIX sh program, with the files that travel along."""

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from decant import quoting
from decant.steps import (
    Directory,
    File,
    Firewall,
    Packages,
    Plan,
    Run,
    Step,
    Transaction,
    Unit,
    User,
)

Mode = Literal["apply", "check", "compare"]


@dataclass(frozen=True)
class Program:
    """A compiled plan.

    The sh text, the files that travel with it, and the step behind each number.
    """

    text: str
    files: Mapping[str, bytes]
    steps: tuple[Step, ...]

    def archive(self, driver: Mapping[str, bytes]) -> bytes:
        """Return the program, its driver (steps.sh and what that reads) and its files as one
        compressed tar.
        """
        buffer = io.BytesIO()
        with tarfile.open(
            fileobj=buffer, mode="w:gz", compresslevel=1, format=tarfile.PAX_FORMAT
        ) as tar:
            for name, data in {
                "program": self.text.encode(),
                **driver,
                **self.files,
            }.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o600
                tar.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()


def compile_plan(
    sections: Iterable[tuple[Mode, Plan]],
    app: str,
    lock: tuple[str, str] = ("", ""),
    files: Mapping[str, bytes] | None = None,
) -> Program:
    """Compile plans, each with its mode, into one program.

    `lock` is the path and the token of the command's lock, which the program shares; `files` travel
    beside the steps' own, under `files/`.
    """
    numbered: list[Step] = []
    sent: dict[str, bytes] = {f"files/{name}": data for name, data in (files or {}).items()}
    lines = [
        "here=${0%/*}",
        "trap 'rm -rf \"$here\"' EXIT",
        f"app={quoting.quote(app)}",
        f"lock={quoting.quote(lock[0] or '-')}",
        f"token={quoting.quote(lock[1])}",
    ]
    sections, applied = list(sections), set[int]()
    lines += [f"mode={sections[0][0]}", '. "$here/steps.sh"', "begin"]
    for mode, plan in sections:
        lines.append(f"mode={mode}")
        before = len(numbered)
        lines += _calls(plan, numbered, sent)
        applied.update(range(before, len(numbered)) if mode == "apply" else ())
    sent["intended"] = "".join(
        f"{place + 1} {hashlib.sha256(step.data).hexdigest()}  {step.path}\n"
        for place, step in enumerate(numbered)
        if place in applied and isinstance(step, File)
    ).encode()
    sent["expected"] = "".join(
        f"{number} {step.expected()} {step.path}\n"
        for number, step in enumerate(numbered, 1)
        if isinstance(step, File | Directory)
    ).encode()
    units = [
        *(step.name for step in numbered if isinstance(step, Unit)),
        *("ufw.service" for step in numbered if isinstance(step, Firewall)),
    ]
    sent["units"] = _lines(units)
    sent["packages"] = _lines(
        name for step in numbered if isinstance(step, Packages) for name in step.names
    )
    sent["users"] = _lines(step.name for step in numbered if isinstance(step, User))
    # A test needs no process: it is asked when its turn comes.
    sent |= {
        f"unless/{number}": f"{quoting.join(step.unless)}\n".encode()
        for number, step in enumerate(numbered, 1)
        if isinstance(step, Run) and step.unless and step.unless[0] != "test"
    }
    return Program("\n".join([*lines, "wait", "exit 0", ""]), sent, tuple(numbered))


def mark(step: Transaction) -> str:
    """Return the name under which a server notes that a check is still to be made.

    The same for the same check.
    """
    return hashlib.sha256(quoting.join(step.validate).encode()).hexdigest()[:12]


def _calls(plan: Iterable[Step], numbered: list[Step], sent: dict[str, bytes]) -> Iterator[str]:
    for step in plan:
        if isinstance(step, Transaction):
            yield quoting.join(
                (
                    "begin_transaction",
                    mark(step),
                    quoting.join(step.validate),
                    quoting.join(step.undo),
                    *(("guarded",) if step.guarded else ()),
                )
            )
            yield from _calls(step.steps, numbered, sent)
            numbered.append(step)
            yield quoting.join(("commit", str(len(numbered))))
            continue
        numbered.append(step)
        words = [_word(word, f"{len(numbered)}", sent) for word in step.words()]
        yield quoting.join(
            ("step", str(len(numbered)), " ".join(step.notify) or "-", step.kind, *words)
        )


def _word(word: str | bytes, name: str, sent: dict[str, bytes]) -> str:
    if isinstance(word, str):
        return word
    sent[f"files/{name}"] = word
    return name


def _lines(names: Iterable[str]) -> bytes:
    return "".join(f"{name}\n" for name in dict.fromkeys(names)).encode()
