"""Fab, which stops where it is told to: before a remote command, a change on the server, a stage of a window.

Run in place of `fab`. Nothing of it is in the product: it changes, on their way to the server, the
texts of the procedures, so that each calls `boundary` before it goes on. A boundary writes its name
to a trace, and where it is the one that is wanted, it waits there until it is let go:

- `trace`: the names of the boundaries that were reached, a line each;
- `stop`: the name at which to wait, and at which of its occurrences;
- `reached`: the process that waits there; it goes on when the file is gone.

They are in /run/sweep on the server, and for the client in the folder that DECANT_SWEEP names.
"""

import os
import re
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from decant.plans import rendering  # noqa: E402

ON_SERVER = "/run/sweep"
# Names that differ from run to run: of releases, temporary folders, digests, processes.
CHANGES = r"[0-9]{8}T[0-9]{6}(-[0-9a-f]{7})?|decant\.[A-Za-z0-9]{8}|[0-9a-f]{12,}|[0-9]{2,}"

IN_SH = f"""
boundary() {{ # boundary NAME
    [ -d {ON_SERVER} ] || return 0
    boundary_at=$(printf '%s' "$1" | tr -c '[:print:]' ' ' | sed -E 's/{CHANGES}/*/g' | cut -c1-90)
    printf '%s\\n' "$boundary_at" >>{ON_SERVER}/trace
    [ "$(cat {ON_SERVER}/stop 2>/dev/null)" = "$boundary_at	$(grep -cxF -e "$boundary_at" {ON_SERVER}/trace)" ] || return 0
    sh -c 'echo $PPID' >{ON_SERVER}/reached
    while [ -e {ON_SERVER}/reached ]; do sleep 0.02; done
}}
"""

IN_PYTHON = """

def _boundaries() -> None:
    import os, re, subprocess, sys, time
    from pathlib import Path

    folder, inside = Path({folder!r}), []

    def boundary(name):
        if inside or not folder.is_dir():
            return
        inside.append(name)
        try:
            at = re.sub({changes!r}, "*", name)[:90]
            with (folder / "trace").open("a") as file:
                file.write(at + "\\n")
            times = (folder / "trace").read_text().splitlines().count(at)
            stop = folder / "stop"
            if stop.exists() and stop.read_text() == f"{{at}}\\t{{times}}\\n":
                (folder / "reached").write_text(f"{{os.getpid()}}\\n")
                while (folder / "reached").exists():
                    time.sleep(0.02)
        finally:
            inside.clear()

    def hook(event, arguments):
        if event in ("os.rename", "os.remove", "os.symlink"):
            path = str(arguments[1] if event == "os.symlink" else arguments[0])
            if path.startswith(("/srv/", "/run/")) and ".log" not in path:
                boundary(f"{file} {{event}} {{path}}")
        elif event == "subprocess.Popen":
            words = list(map(str, arguments[1]))
            if words[:2] == ["sh", "-c"]:
                words = words[5:]  # a function of lib.sh
            if words and words[0] not in {questions!r}:
                boundary(f"{file} runs {{' '.join(words)}}")

    sys.addaudithook(hook)


_boundaries()
"""
FUNCTION = re.compile(r"^([a-z_]+)\(\) [{(].*$", re.MULTILINE)
# Those that ask, or that are asked again and again while something else goes on.
QUESTIONS = {"answered", "ended", "roots_own", "newest_first", "half", "failed"}
QUESTIONS |= {"main_pid", "manager", "memory_limit", "server_of_current", "edited", "cannot_serve"}
HOOKED_SH = ("release", "processes", "certificate")
HOOKED_PYTHON = ("window.py", "environment.py", "assets.py", "app_files.py")


def hooked() -> dict[str, bytes]:
    """Return the procedures with a boundary before what each of them does."""
    files = dict(original())
    folders = {path.name: path.parent.name for path in rendering.SERVER.rglob("*.*")}
    for name, data in files.items():
        if name == "steps.sh":
            files[name] = _driver(data.decode()).encode()
        elif name.endswith(".sh") and folders[name] in HOOKED_SH and name != "gate.sh":
            files[name] = _script(name, data.decode()).encode()
        elif name in HOOKED_PYTHON:
            files[name] = _module(name, data.decode()).encode()
    return files


def _driver(text: str) -> str:
    """Have the driver call `boundary` before each change, and before what ends a transaction."""
    change, end = '        "apply_$kind" "$@"\n', "commit() { # commit NUMBER"
    assert text.count(change) == text.count(end) == 1
    text = text.replace(change, f'        boundary "step $kind $1"\n{change}')
    ends = text.index("\n", text.index(end))
    return IN_SH + text[:ends] + '\n    boundary "step commit"' + text[ends:]


def _script(name: str, text: str) -> str:
    """Have a script call `boundary` where it begins, and in each of its functions."""

    def begins(found: re.Match[str]) -> str:
        if found[1] in QUESTIONS or found[0].rstrip().endswith(("}", ")")):
            return found[0]
        return f'{found[0]}\n    boundary "{name} {found[1]}"'

    return IN_SH + f'boundary "{name}"\n' + FUNCTION.sub(begins, text)


def _module(name: str, text: str) -> str:
    """Have a Python program wait before it changes a file or starts a process."""
    hook = IN_PYTHON.format(
        folder=ON_SERVER, changes=CHANGES, file=name, questions=sorted(QUESTIONS)
    )
    main = '\n\nif __name__ == "__main__":'
    if main in text:
        return text.replace(main, hook + main)
    return text.replace("\n\ndef main(", hook + "\n\ndef main(", 1)


def boundary(name: str) -> None:
    """Wait here, in the client, where this is what is wanted."""
    folder = Path(os.environ["DECANT_SWEEP"])
    with (folder / "trace").open("a") as file:
        file.write(name + "\n")
    times = (folder / "trace").read_text().splitlines().count(name)
    if (folder / "stop").exists() and (folder / "stop").read_text() == f"{name}\t{times}\n":
        (folder / "reached").write_text(f"{os.getpid()}\n")
        while (folder / "reached").exists():
            time.sleep(0.02)


def hook_client() -> None:
    """Wait before each remote command, and in the middle of what is sent with it."""
    from decant.remote import patchwork_rsync
    from decant.remote.connection import ServerConnection

    start, rsync = ServerConnection.start, patchwork_rsync.rsync

    def started(self: ServerConnection, command: str, stdin: bytes = b"") -> Any:
        boundary("client: command")
        channel = start(self, command, stdin[: len(stdin) // 2])
        if len(stdin) > 200:
            boundary("client: upload")
        channel.sendall(stdin[len(stdin) // 2 :])
        return channel

    def sent() -> Any:
        boundary("client: rsync")
        return rsync()

    ServerConnection.start = started  # type: ignore[method-assign]
    patchwork_rsync.rsync = sent


original = rendering.procedures

if __name__ == "__main__":
    texts = hooked()
    rendering.procedures = lambda: texts  # type: ignore[assignment]
    if os.environ.get("DECANT_SWEEP"):
        hook_client()
    from fabric.main import program

    program.run(["fab", "-r", str(ROOT), *sys.argv[1:]])
