"""Keep the WSGI servers of an application on one socket: the main process of its service.

Arguments: the application's folder, and the one in /run in which a release window says what is to
start. The socket comes from the manager (sd_listen_fds(3)) and goes to whatever is started here, so
that a release can start while another one serves.

- At first: start the release that current leads to.
- SIGUSR2: start the release that the file `starting` names, beside what runs.
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


def start(release: Path, token: str = "") -> int:
    """Start a release; return its process.

    `token`: by which its workers know that the window waits for them (ready.py).
    """
    program = release / ".deploy/start"
    pid = os.fork()
    if pid:
        return pid
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["DECANT_STARTS"] = token
    # Where the launcher is killed, supervisor would leave the release behind.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        os.execv(program, (str(program),))
    except OSError as error:
        print(f"launcher: {program}: {error.strerror}", file=sys.stderr, flush=True)
    finally:
        os._exit(126)


def start_beside(root: Path, run: Path) -> list[int]:
    """Start the release that the window names; return its process, or none where that fails."""
    try:
        token, release, _ = (run / "starting").read_text(encoding="utf-8").split()
        return [start(root / "releases" / release, token)]
    except (OSError, ValueError) as error:  # too many processes, or no window any more
        print(f"launcher: nothing was started: {error}", file=sys.stderr, flush=True)
        return []


def ended(running: list[int]) -> int:
    """Forget the processes that have ended; return how the last of them did."""
    status = 0
    for pid in tuple(running):
        found, status_of_it = os.waitpid(pid, os.WNOHANG)
        if found:
            running.remove(pid)
            status = status_of_it
    return status


def main(root: Path, run: Path) -> int:
    """Serve until nothing runs any more; return the exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    running = [start((root / "current").resolve())]
    told = False
    while True:
        match signal.sigwait(HANDLED):
            case signal.SIGUSR2 if not told:
                running += start_beside(root, run)
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
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
