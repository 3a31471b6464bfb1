"""The task that needs no server."""

import fabric


class LocalTask(fabric.tasks.Task):  # type: ignore[misc]  # fabric has no types
    """A task for this machine alone: the executor looks for no host and opens no connection."""

    local = True
