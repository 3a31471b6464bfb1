"""What can stop a command: one line that says what happened, where, and what to do next."""

from invoke.exceptions import Exit


class DeployError(Exit):
    """Stop with one line on standard error and exit code 1; Fabric prints it without a traceback."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message=message, code=code)

    def __str__(self) -> str:
        return str(self.message)


class SettingsError(DeployError):
    """Say what is wrong in hosts.toml or in a file that it names; nothing was connected."""


class ConnectError(DeployError):
    """Say why a server cannot be reached, trusted or logged in to."""


class StepError(DeployError):
    """Say which step of a plan failed on which host, with the end of its output."""


class LabError(DeployError):
    """Say what keeps a lab server from being booted on this machine."""
