"""Keep the WSGI servers of an application on one socket: the main process of its service.

Argument: the application's folder. The socket comes from the manager (sd_listen_fds(3)) and goes to
whatever is started here, so that a release can start while another one serves.

- At first, and at SIGUSR2: start the release that current leads to, beside what runs.
- SIGHUP goes to the newest: fresh workers. SIGTERM and SIGINT go to all, and this ends with them.
- One that ends by itself is forgotten while another runs; with the last one this ends, as it did.

Which one has to end is decided by root, which tells it so (beside.py). Standard library only.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # prctl(2); setpriv(1) touches capabilities, too, which the sandbox forbids
HANDLED = {signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR2}


def start(root: Path) -> int:
    """Start the release that current leads to; return its process."""
    # Read now: current may lead elsewhere a moment later.
    program = (root / "current").resolve() / ".deploy/start"
    pid = os.fork()
    if pid:
        return pid
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.environ["LISTEN_PID"] = str(os.getpid())
    # Where the launcher is killed, supervisor would leave the release behind.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        os.execv(program, (str(program),))
    finally:
        os._exit(126)


def ended(running: list[int]) -> int:
    """Forget the processes that have ended; return how the last of them did."""
    status = 0
    for pid in tuple(running):
        found, status_of_it = os.waitpid(pid, os.WNOHANG)
        if found:
            running.remove(pid)
            status = status_of_it
    return status


def main(root: Path) -> int:
    """Serve until nothing runs any more; return the exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    running = [start(root)]
    told = False
    while True:
        match signal.sigwait(HANDLED):
            case signal.SIGUSR2 if not told:
                running.append(start(root))
            case signal.SIGHUP:
                os.kill(running[-1], signal.SIGHUP)
            case signal.SIGTERM | signal.SIGINT:
                told = True
                for pid in running:
                    os.kill(pid, signal.SIGTERM)
            case signal.SIGCHLD:
                status = ended(running)
                if not running:
                    code = os.waitstatus_to_exitcode(status)
                    return 0 if told else code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
