"""A server that is none, for tests of tasks.

It notes what a task does to it, and answers what the test wants.

    host = FakeHost(settings, answers={"prepare": [{"result": "ready", "release": "new"}]})
    my_operation(host)
    assert host.journal == ["server: lock mine", "server: prepare", "server: unlock"]

It shows logic, never that a server would do it: that takes a booted one (`fab lab.up`).
"""

import contextlib
import io
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from decant.errors import StepError
from decant.facts import Facts
from decant.output import Output
from decant.remote.fleet import Fleet
from decant.remote.host import BUSY, Host
from decant.remote.report import Report
from decant.steps import File, Plan, Procedure

if TYPE_CHECKING:
    from decant.config.models import Settings

Answer = Mapping[str, str] | Exception
FACTS = Facts(
    user="root",
    sudo="root",
    os="debian",
    codename="bookworm",
    systemd="252",
    free_mb=9999,
    tmp_free_mb=9999,
)


class FakeHost(Host):
    """A host that runs nothing.

    `answers`: what a program tells by its name (see `name_of`), one after the other; an exception
    is raised; the last one stays. `texts`: the files on the
    server by their paths. `says`: what a command prints by its first word. Several hosts may share
    one `journal`, in which everything is noted in its order.
    """

    def __init__(
        self,
        settings: "Settings",
        facts: Facts = FACTS,
        name: str = "server",
        answers: Mapping[str, Sequence[Answer]] | None = None,
        texts: Mapping[str, str] | None = None,
        says: Mapping[str, str | Exception] | None = None,
        journal: list[str] | None = None,
        dry: bool = False,
    ) -> None:
        self.settings, self.paths, self.name, self.dry = settings, settings.paths, name, dry
        self.output = Output(name)
        self.output.stream = self.screen = io.StringIO()
        self.connection: Any = SimpleNamespace(
            server_name=name,
            settings=settings,
            output=self.output,
            connect_kwargs={},
            close=lambda: None,
            config=SimpleNamespace(run=SimpleNamespace(dry=dry)),
        )
        self.journal = [] if journal is None else journal
        self.applied: list[tuple[Plan, Plan, Mapping[str, bytes]]] = []
        self.answers = {key: list(each) for key, each in (answers or {}).items()}
        self.texts, self.says = dict(texts or {}), dict(says or {})
        self.finished: dict[str, str] = {}
        self.announced: list[str] = []
        self.lines: list[str] = []  # what a command in the background prints
        self._asked: Facts | None = facts

    @property
    def facts(self) -> Facts:
        """The facts that the test gave."""
        return self._asked or FACTS

    def time(self) -> float:
        """The server's time: this machine's."""
        return time.time()

    def found(self, facts: Facts) -> None:
        """Let the server be found so from here on."""
        self._asked = facts

    def forget_facts(self) -> None:
        """Note that the server would be asked again."""
        self.note("forget facts")

    def note(self, what: str) -> None:
        """Write into the journal."""
        self.journal.append(f"{self.name}: {what}")

    def apply(
        self, plan: Plan, compare: Plan = (), files: Mapping[str, bytes] | None = None
    ) -> Report:
        """Note a program by its name, and answer what the test wants."""
        name = name_of(plan)
        self.note(name)
        self.applied.append((plan, compare, dict(files or {})))
        answers = self.answers.get(name, [])
        answer = (answers.pop(0) if len(answers) > 1 else answers[0]) if answers else {}
        if isinstance(answer, Exception):
            raise answer
        steps = [step for step in plan if not isinstance(step, Procedure)]
        report = Report(values=dict(answer), differs=list(compare))
        (report.would if self.dry else report.changed).extend(steps)
        return report

    def parameters(self, name: str) -> dict[str, str]:
        """Return the parameters of the last procedure of that name which was applied."""
        found = [
            step
            for plan, _, _ in self.applied
            for step in plan
            if isinstance(step, Procedure) and step.name == name
        ]
        return dict(found[-1].parameters)

    def written(self, path: str) -> str:
        """Return what the last plan that has this file would write into it."""
        found = [
            step
            for plan, _, _ in self.applied
            for step in plan
            if isinstance(step, File) and step.path == path
        ]
        return found[-1].data.decode()

    def read(self, *words: str, root: bool = True, label: str = "") -> str:  # noqa: ARG002  # as the real one
        """Note a command, and return what the test says that it prints.

        Where it says nothing, the command fails.
        """
        self.note(f"read {words[0]}")
        said = self.says.get(words[0], StepError(f"{self.name}: {words[0]} failed"))
        if isinstance(said, Exception):
            raise said
        return said

    def text(self, path: str) -> str:
        """Return the text of a file that the test gave."""
        self.note(f"text {path.rpartition('/')[2]}")
        return self.texts.get(path, "")

    def interact(self, *words: str, shell_only: bool = False) -> int:  # noqa: ARG002  # as the real one
        """Note a command at the terminal."""
        self.note(f"interact {' '.join(words)}")
        return 0

    @contextlib.contextmanager
    def lock(self, what: str, wait: float = BUSY, path: str = "") -> Iterator[None]:
        """Note when a lock is taken and let go."""
        at = f" at {path.rpartition('/')[2]}" if path else ""
        self.note(f"lock {what}{at}" + (f" for {wait:g} s" if wait != BUSY else ""))
        problem = next(iter(self.answers.pop("lock", [])), None)
        if isinstance(problem, Exception):
            raise problem
        try:
            yield
        finally:
            self.note("unlock")

    @contextlib.contextmanager
    def background(self, command: str) -> Iterator[list[str]]:
        """Note a command that runs beside others; `lines` is what it prints."""
        self.note(f"beside: {command.split()[1].rpartition('/')[2]}")
        yield self.lines
        self.note("beside ended")

    def said(self) -> list[str]:
        """Return the lines that were printed for this host, without its name."""
        return [line.partition("] ")[2] for line in self.screen.getvalue().splitlines()]

    def probed(self, **counts: Any) -> "FakeHost":
        """Let the prober count this; returns the host itself."""
        self.lines = [
            json.dumps({"lost": 0, "requests": 7, "longest": 0.2, "refused": 0, **counts})
        ]
        return self


def name_of(plan: Plan) -> str:
    """Return the name of a program.

    That of its last procedure, with what it asks for (`open update`, `say migrate`), or `steps`.
    """
    procedures = [step for step in plan if isinstance(step, Procedure)]
    if not procedures:
        return "steps"
    last = procedures[-1]
    if last.name != "follow":
        return last.name
    if last.parameters.get("open"):
        return f"open {json.loads('{' + last.parameters['about'] + '}')['what']}"
    if last.parameters.get("word"):
        return f"say {last.parameters['word']}"
    return "wait" if last.parameters.get("number") else "follow"


def fleet_of(hosts: Iterable[FakeHost]) -> Fleet:
    """Return the fleet of these hosts."""
    made = Fleet({host.name: host.connection for host in hosts})
    for connection in made.connections.values():
        connection.output.single_host = made.single_host
    return made
