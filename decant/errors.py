"""What can stop a command: one line that says what happened, where, and what to do next."""

import os
import tempfile
import traceback

from invoke.exceptions import Exit


class DeployError(Exit):
    """Stop with one line on standard error and exit code 1.

    Fabric prints it without a traceback.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message=message, code=code)

    def __str__(self) -> str:
        return str(self.message)


class SettingsError(DeployError):
    """Say what is wrong in hosts.toml or in a file that it names; nothing was connected."""


class NoInventory(SettingsError):
    """Say that there is no hosts.toml, and where it was looked for."""


class ConnectError(DeployError):
    """Say why a server cannot be reached, trusted or logged in to."""


class StepError(DeployError):
    """Say which step of a plan failed on which host, with the end of its output."""


class LabError(DeployError):
    """Say what keeps a lab server from being booted on this machine."""


def unforeseen(error: BaseException) -> str:
    """Return the message for an unforeseen exception.

    What and where, and the file in which the traceback is, which only you can read.
    """
    frame = traceback.extract_tb(error.__traceback__)[-1]
    handle, path = tempfile.mkstemp(prefix="decant-", suffix=".traceback")
    with os.fdopen(handle, "w") as file:
        file.writelines(traceback.format_exception(error))
    return (
        f"{type(error).__name__}: {error} (in {frame.filename}, line {frame.lineno})\nthis is a bug"
        f" in Decant; the traceback is in {path}: please report it"
    )
