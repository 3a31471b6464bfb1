"""Run a process beside the service, or what is due: the command of the release that serves, or of
the one whose processes a window has on trial.

Arguments: the application's folder, the one in /run, `processes` or `schedules`, the name. Signals
reach the command itself, and not a shell around it, which would die of them without a word to what
it has started. Standard library only.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # prctl(2)
SHELLS = ("bash", "dash", "sh")
TELLS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}


def release(root: Path, run: Path, kind: str) -> Path:
    """Return the release whose command is meant."""
    trial = run / "trial"
    if kind == "processes" and trial.exists():
        return root / "releases" / trial.read_text(encoding="utf-8").strip()
    return (root / "current").resolve()


def start(deploy: Path, command: str) -> int:
    """Start a command with a release's variables, in its folder; return its process."""
    pid = os.fork()
    if pid:
        return pid
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Where this one is killed, supervisor would leave the command behind.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        os.execv(deploy / "with-env", ["with-env", "bash", "-c", command])
    finally:
        os._exit(126)


def meant(pid: int) -> list[int]:
    """Return whom a signal is for: the command, and for a shell what it has started."""
    process = Path(f"/proc/{pid}")
    try:
        started = (process / f"task/{pid}/children").read_text().split()
        shell = (process / "exe").readlink().name in SHELLS
    except OSError:
        return []
    return [int(each) for each in started] if shell and started else [pid]


def main(root: Path, run: Path, kind: str, name: str) -> int:
    """Run it; return its exit code."""
    deploy = release(root, run, kind) / ".deploy"
    try:
        command = (deploy / kind / name).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        print(f"the release that serves has no {name}", flush=True)
        if kind == "processes":  # a process waits for one that has it; before the first one, too
            signal.sigwait(TELLS)
        return 0
    child = start(deploy, command)
    while True:
        told = signal.sigwait({signal.SIGCHLD, *TELLS})
        if told != signal.SIGCHLD:
            for pid in meant(child):
                os.kill(pid, told)
            continue
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, *TELLS})
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
