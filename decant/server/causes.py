"""Turn what a program printed into one line: what went wrong, and which key of hosts.toml mends it.

Arguments: how the line begins (nothing: by the cause alone), and the application's folder; what was
printed is standard input. The applications' authors never saw Decant: what they meet first is
collected here, and nowhere else. Standard library only.
"""

import posixpath
import re
import sys
from collections.abc import Callable
from typing import NamedTuple

TAIL = 100_000  # characters that are looked at: an application may print without end
LONGEST = 500
NAMED = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b")
DOES_NOT_START = "the release does not start"  # what lib.sh says where nothing answers at all
Match = re.Match[str]


class Rule(NamedTuple):
    """What a known cause looks like in the last lines of what was printed, and what mends it."""

    pattern: re.Pattern[str]
    advice: Callable[[Match], str]


def _rule(pattern: str, advice: str | Callable[[Match], str]) -> Rule:
    return Rule(
        re.compile(pattern, re.MULTILINE),
        advice if callable(advice) else lambda found: found.expand(advice),
    )


def _read_only(found: Match) -> str:
    path = posixpath.normpath(found["path"])
    if path.startswith("/"):
        return (
            f"it may write below its shared folders alone: have it write {path} to one of them"
            " (app.shared), or log to standard error, which is the journal"
        )
    first = path.split("/")[0]
    entry = path if "/" not in path else first
    return f'a release is read-only: add "{entry}" to app.shared, which lives across releases'


# What stands behind the error itself: advice, and where to read on.
AFTERWORD = re.compile(r"\(Background on this error at: |During handling of the above|\[SQL: ")

RULES = (
    _rule(
        r"(?:Read-only file system|Permission denied): '(?P<path>[^']+)'",
        _read_only,
    ),
    _rule(
        r"unable to open database file|attempt to write a readonly database",
        "a release is read-only: have the application use the URL in db.variable, or put its SQLite"
        " file below instance/ or another folder of app.shared",
    ),
    _rule(
        r"Address already in use|Resource temporarily unavailable|already (?:running|locked)",
        "what only one process may have is taken when the application is imported: DECANT_SMOKE is"
        " set where it is only checked, so that it can leave that out then",
    ),
    _rule(
        r"class uri '?(\w+)'? invalid or not found|(gevent|eventlet|tornado) worker requires",
        lambda found: (
            f'gunicorn lacks what this worker needs: python.packages = ["gunicorn[{found[1] or found[2]}]"]'
        ),
    ),
    _rule(
        r"module '(collections|inspect|asyncio|ast)' has no attribute"
        r"|cannot import name '\w+' from 'collections'"
        r"|No module named '(distutils|imp|asyncore|asynchat|cgi|pipes|telnetlib)'",
        "a package is older than this Python: raise its pin, or set python.version to one that it"
        " was made for",
    ),
    _rule(
        r"No module named '(?P<module>[\w.]+)'",
        lambda found: (
            f"add what brings {found['module'].split('.')[0]} to the application's requirements, or"
            " to python.packages"
        ),
    ),
    _rule(
        r"No such file or directory: '(?P<program>[A-Za-z0-9][\w.+-]*)'$",
        lambda found: (
            f"if {found['program']} is a program, name its Debian package in system.packages"
        ),
    ),
    _rule(
        r"Worker .*was (?:sent SIGKILL|killed)|Out of memory|oom-kill|worker \d+ \(pid: \d+\) died, killed by signal 9",
        "its workers were killed: the server, or wsgi.memory, has too little memory for it"
        " (journalctl -k says); give it more, or fewer wsgi.workers",
    ),
    _rule(
        r"(?:Can't connect to|Lost connection to) (?:MySQL|MariaDB|server)|connection to server .* failed: (?!FATAL)"
        r"|could not connect to server|Connection refused.*(?:5432|3306)",
        "the database does not answer: systemctl status mariadb or postgresql on its server says why",
    ),
    _rule(
        r"no answer \((?:timed out|.*No such file|.*Connection refused)",
        "if the application needs longer to start, raise app.health.timeout",
    ),
    _rule(
        r"answered 404 ",
        "have app.health.path name a page that the application has, or app.health.status what it"
        " answers",
    ),
    _rule(
        r"answered (?:400|421) ",
        "the application takes only names that it knows: app.health.host is the one that it is asked"
        " by",
    ),
    _rule(
        r"answered 40[13] ",
        "app.health: a path that needs no login, or the status that it answers",
    ),
)


def without_folders(text: str, root: str) -> str:
    """Name files of a release or of a build as they are called in the repository."""
    place = re.escape(root)
    text = re.sub(rf"{place}/releases/\.?(?:part-)?[\w.-]+/", "", text)
    text = re.sub(rf"{place}/releases/\.?(?:part-)?[\w.-]+", ".", text)
    return re.sub(rf"{place}/build/tree(/|\b)", "", text)


def line_of(text: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    while len(lines) > 1 and AFTERWORD.match(lines[-1]):
        lines.pop()
    return lines[-1] if lines else ""


def explain(text: str, beginning: str = "") -> str:
    """Return what went wrong, and what mends it where that is known."""
    last = line_of(text)
    if re.match(r"SystemExit\b", last):
        said = [line.strip() for line in text.splitlines() if _tells(line)]
        last = f"the application ended itself: {said[-1] if said else last}"
    if last == DOES_NOT_START:
        named = [line.strip() for line in text.splitlines() if NAMED.match(line.strip())]
        last += f": {named[-1]}" if named else ""
    cause = f"{beginning}: {last}" if beginning and last else beginning or last
    # Where the cause is no error of the application's own, what it printed before says more.
    before = [] if NAMED.match(last) else text.splitlines()[-60:]
    for rule in RULES:
        for part in (last, *reversed(before)):
            found = rule.pattern.search(part)
            if found:
                return f"{cause[:LONGEST]}; {rule.advice(found)}"
    return cause[:LONGEST]


def _tells(line: str) -> bool:
    """Tell a line of the application's own from those of a traceback."""
    return bool(line.strip()) and not re.match(
        r"\s|Traceback |SystemExit|The above exception|During handling", line
    )


def main() -> None:
    """Print the line."""
    beginning, root = sys.argv[1:]
    text = sys.stdin.buffer.read()[-TAIL:].decode("utf-8", "replace")
    text = "\n".join(line[:2000] for line in text.splitlines())
    print(explain(without_folders(text, root), beginning))


if __name__ == "__main__":
    main()
