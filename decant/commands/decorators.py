"""The decorators of tasks.

For this machine, for each server by itself, for all chosen servers together.
"""

import functools
from typing import Any

import fabric
from invoke.parser.argument import Argument

from decant.remote.connection import ServerConnection, in_sentences
from decant.remote.fleet import AT_ONCE, Fleet


class LocalTask(fabric.tasks.Task):  # type: ignore[misc]  # fabric has no types
    """A task for this machine alone: the executor looks for no host and opens no connection."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task; an exception that nobody foresaw ends in a sentence."""
        with in_sentences():
            return super().__call__(*args, **kwargs)


class ServerTask(fabric.tasks.Task):  # type: ignore[misc]
    """A task that gets one server.

    The executor calls it for every chosen one, --parallel at a time.

    `role`: what it works on is on hosts with that role alone; the others are passed over.
    """

    def __init__(self, *args: Any, role: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.role = role

    def get_arguments(self, *args: Any, **kwargs: Any) -> list[Argument]:
        """Return the task's own arguments and --parallel, which is the executor's."""
        arguments: list[Argument] = super().get_arguments(*args, **kwargs)
        return [
            *arguments,
            Argument(name="parallel", kind=int, default=AT_ONCE, help="hosts at a time"),
        ]


class FleetTask(fabric.tasks.Task):  # type: ignore[misc]
    """A task that gets all chosen servers together (a `Fleet`), because what it does on one depends
    on the others.
    """

    def __call__(self, first: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the task on a fleet, or, called by another task, on the one server that this task
        has.
        """
        if isinstance(first, ServerConnection):
            return self.body(Fleet({first.server_name: first}), *args, **kwargs)
        return self.body(first, *args, **kwargs)


task = functools.partial(fabric.task, klass=ServerTask)
app_task = functools.partial(task, role="app")
web_task = functools.partial(task, role="web")
fleet_task = functools.partial(fabric.task, klass=FleetTask)
local_task = functools.partial(fabric.task, klass=LocalTask)
