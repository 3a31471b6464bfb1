"""Look over a server's shoulder.

Every command line, every environment of processes that are not the application's, the journal and
the logs.
"""

import subprocess
from types import TracebackType

from tests.booted import Server

# Runs on the server. The application's own environments may hold its secrets.
SCRIPT = """
import glob, os, pwd, time
own = -1
end = time.time() + 600
with open("/tmp/watched", "ab") as out:
    while time.time() < end and not os.path.exists("/tmp/stop-watching"):
        if own == -1:
            try: own = pwd.getpwnam("guestbook").pw_uid
            except KeyError: pass
        for folder in glob.glob("/proc/[0-9]*"):
            try:
                out.write(open(folder + "/cmdline", "rb").read() + b"\\n")
                if os.stat(folder).st_uid != own: out.write(open(folder + "/environ", "rb").read() + b"\\n")
            except OSError: pass
        time.sleep(0.01)
"""
LOGS = (
    "/srv/guestbook/log /srv/guestbook/deploys.jsonl /var/log /var/lib/decant /tmp/decant*"
    " /root/.*history /root/.mysql_history /var/lib/postgresql/.psql_history"
)


class Watch:
    """Watch a server while the block runs; `saw` then tells where a text was to be seen."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ssh = [
            "ssh",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ]
        self.ssh += ["-i", str(server.folder / ".lab/key"), f"root@{server.address}"]

    def __enter__(self) -> "Watch":
        self.server.ssh(
            "rm -f /tmp/stop-watching; command -v python3 >/dev/null || { apt-get -qq update &&"
            " apt-get -qq install -y --no-install-recommends python3; } >/dev/null 2>&1"
        )
        self.watcher = subprocess.Popen(
            [*self.ssh, "python3 -"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self.watcher.stdin
        self.watcher.stdin.write(SCRIPT.encode())
        self.watcher.stdin.close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.ssh("touch /tmp/stop-watching", check=False)
        self.watcher.wait(timeout=30)

    def saw(self, text: str) -> bytes:
        """Return every place where the text stood.

        It goes there by standard input, so that looking for it does not show it.
        """
        look = (
            "cat >/tmp/pattern; grep -aFf /tmp/pattern /tmp/watched; journalctl | grep -aFf"
            f" /tmp/pattern; grep -arlFf /tmp/pattern {LOGS} 2>/dev/null; true"
        )
        return subprocess.run(
            [*self.ssh, look], input=f"{text}\n".encode(), capture_output=True, check=True
        ).stdout
