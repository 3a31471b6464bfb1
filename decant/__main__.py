"""The command `decant`: Fabric's own program with our tasks and our inventory.

It needs a hosts.toml, and no fabfile.
"""

import difflib
import gc
import re
import sys
from typing import Any

# What is imported stays: Python need not look for garbage in it again and again.
gc.set_threshold(50_000)

import fabric.main  # noqa: E402
from invoke.exceptions import ParseError  # noqa: E402

from decant import __version__  # noqa: E402
from decant.commands.executor import Executor  # noqa: E402
from decant.tasks import ns  # noqa: E402


class Program(fabric.main.Fab):  # type: ignore[misc]  # fabric has no types
    """Fabric's program under our name."""

    def print_version(self) -> None:
        """Print our version."""
        sys.stdout.write(f"decant {__version__}\n")

    def parse_tasks(self) -> None:
        """Read the names of tasks; a name that is none is refused with the one that was meant."""
        try:
            super().parse_tasks()
        except ParseError as error:
            unknown = re.fullmatch(r"No idea what '(.*)' is!", str(error))
            if not unknown:
                raise
            near = difflib.get_close_matches(unknown[1], list(self.collection.task_names), 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ParseError(
                f"decant: there is no task {unknown[1]!r}{meant}\nall of them: decant --list"
            ) from error


def program() -> Any:
    """Return the program."""
    return Program(
        name="decant",
        binary="decant",
        version=__version__,
        namespace=ns,
        executor_class=Executor,
        config_class=fabric.Config,
    )


def main() -> None:
    """Run the command line."""
    program().run()


if __name__ == "__main__":
    main()
