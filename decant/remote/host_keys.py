"""Which host keys are trusted: known_hosts, a pinned fingerprint, or a person at a terminal.

Nothing else.
"""

import base64
import hashlib
import sys
from pathlib import Path

from paramiko import MissingHostKeyPolicy, PKey, SSHClient

from decant.errors import ConnectError
from decant.output import asking
from decant.paths import local

USER_FILE = Path("~/.ssh/known_hosts")
SYSTEM_FILE = Path("/etc/ssh/ssh_known_hosts")


def fingerprint(key: PKey) -> str:
    """Return a key's fingerprint as OpenSSH prints it: `SHA256:` and unpadded base64."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def apply_policy(
    client: SSHClient, name: str, pinned: str = "", files: tuple[str, ...] = ()
) -> None:
    """Make the client trust the pinned fingerprint alone or, without one, the known_hosts files.

    A key that differs from a known one is refused by paramiko (BadHostKeyException), whatever is
    set here.
    """
    client.set_missing_host_key_policy(Pinned(name, pinned) if pinned else Ask(name))
    if not pinned:
        for path in (local(Path(), str(each)) for each in (*files, USER_FILE, SYSTEM_FILE)):
            if path.is_file():
                client.load_system_host_keys(str(path))


class Pinned(MissingHostKeyPolicy):
    """Accept the host key that has this fingerprint, and no other."""

    def __init__(self, name: str, pinned: str) -> None:
        self.name, self.pinned = name, pinned.rstrip("=")

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:  # noqa: ARG002  # paramiko's signature
        """Refuse a key that is not the pinned one."""
        if fingerprint(key) != self.pinned:
            raise ConnectError(
                f"{self.name}: the server shows the host key {fingerprint(key)} ({key.get_name()}),"
                f" but hosts.{self.name}.host_key is {self.pinned}; if the server was set up anew,"
                " correct the setting, else do not connect"
            )


class Ask(MissingHostKeyPolicy):
    """Show an unknown key's fingerprint and ask at a terminal; refuse without one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:  # noqa: ARG002  # paramiko's signature
        """Take the key into known_hosts when the person says yes."""
        shown = f"{fingerprint(key)} ({key.get_name()})"
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConnectError(
                f"{self.name}: the host key of {hostname} is not known: {shown}; check it, then"
                " connect once with ssh, "
                f'or set hosts.{self.name}.host_key = "{fingerprint(key)}"'
            )
        with asking:
            print(
                f"{self.name}: the host key of {hostname} is not known.\n  {shown}", file=sys.stderr
            )
            print(
                "Is this the server's fingerprint? (yes/no) ", end="", file=sys.stderr, flush=True
            )
            answer = sys.stdin.readline()
        if answer.strip().lower() != "yes":
            raise ConnectError(f"{self.name}: not connected, the host key was not confirmed")
        path = USER_FILE.expanduser()
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")
