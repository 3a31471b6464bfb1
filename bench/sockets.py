"""Measure how long visitors wait in an update while 50 WebSockets are open and a worker has a job
of 20 s: the longest wait, beside that of the same update without them, in turns.

`sudo .venv/bin/python bench/sockets.py [--rounds 3]`
"""

import argparse
import contextlib
import socket
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests import booted, guestbook  # noqa: E402
from tests.booted import Server, ServerFactory  # noqa: E402
from tests.load import Visits  # noqa: E402
from tests.servers.test_proxy import upgraded  # noqa: E402
from tests.service import Service  # noqa: E402

SOCKETS = 50
# Told to stop, it needs 20 s where there is a job.
WORKER = """
import os, signal, time

def stop(*_):
    time.sleep(20 if os.path.exists("instance/job") else 0)
    raise SystemExit

signal.signal(signal.SIGTERM, stop)
while True:
    time.sleep(0.1)
"""


def deployed(booth: ServerFactory) -> Service:
    """Boot a server with the application, its worker, and a WebSocket."""
    service = Service(booth.boot())
    service.commit("0")
    (service.source / "worker.py").write_text(WORKER)
    service.commit("1")
    service.configure('app = "main:app"', '[processes.worker]\ncommand = "python worker.py"')
    service.server.fab("deploy", timeout=900)
    return service


def longest(server: Server, sockets: int) -> float:
    """Return the longest wait in an update; with WebSockets open there is a job, too."""
    job = "/srv/service/shared/instance/job"
    server.ssh(f"touch {job}" if sockets else f"rm -f {job}")
    with contextlib.ExitStack() as stack:
        opened: list[socket.socket] = [
            stack.enter_context(upgraded(server, "/echo")) for _ in range(sockets)
        ]
        with Visits(server.address, (("GET", "/", {}, 200),)) as visits:
            server.fab("update")
        if visits.lost or len(opened) != sockets:
            raise RuntimeError(f"requests lost: {visits.lost[:3]}")
    return visits.longest


def main() -> None:
    """Print the waits and the ratio of their medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    booted.run_id()
    waits: dict[int, list[float]] = {0: [], SOCKETS: []}
    try:
        with tempfile.TemporaryDirectory(prefix="decant-bench-") as folder:
            repository = guestbook.make(Path(folder) / "repository")
            booth = ServerFactory(Path(folder), repository, "sockets")
            try:
                service = deployed(booth)
                for number in range(given.rounds * 2):
                    sockets = number % 2 * SOCKETS
                    service.commit(str(number + 2))
                    waits[sockets].append(longest(service.server, sockets))
            finally:
                booth.close()
    finally:
        booted.sweep(everything=True)
    without, with_them = (statistics.median(waits[number]) for number in (0, SOCKETS))
    for number, found in waits.items():
        print(f"{number} WebSockets: {', '.join(f'{wait * 1000:.0f}' for wait in found)} ms")
    print(f"longest wait, median: {with_them / without:.2f} times that without them")


if __name__ == "__main__":
    main()
