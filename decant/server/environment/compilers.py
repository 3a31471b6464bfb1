"""Packages that have no wheel for a server: which one it is, and what building it needs."""

import re
import sys
from pathlib import Path

# What the installers say of a package that has no wheel for this server and could not be built, and
# what Debian calls the headers it wants.
UNBUILT = (
    re.compile(r"based projects \(([\w.-]+)"),
    re.compile(r"Failed to build (?!installable wheels)`?'?([A-Za-z0-9][\w.-]*?)(?:==|`|'|\s|$)"),
    re.compile(r"Failed building wheel for ([\w.-]+)"),
    re.compile(r"Cannot install ([\w.-]+)\."),
    re.compile(r"not a problem with poetry but .*?([A-Za-z0-9][\w.-]*) \("),
    re.compile(r"╰─> ([A-Za-z0-9][\w.-]*)$", re.MULTILINE),
)
# Where none of them names it: the package that pip was at when one's own build ended it.
AT_WORK = re.compile(r"(?:Collecting|Processing) (?:\S*/)?([A-Za-z0-9][\w.-]*)")
# Signs that compilers or headers are what is missing; another cause is not fixed by them.
UNCOMPILED = re.compile(
    r"(?i)(?<!\w)(gcc|g\+\+|cc|clang|compiler|compilation|make|cmake|pkg-config|[\w-]+[-_]config|python\.h|fatal"
    r" error: \S+\.h)(?!\w)"
)
COMPILERS = ("gcc", "g++", "libc6-dev", "make", "pkg-config")
HEADERS = {
    "mysqlclient": ("default-libmysqlclient-dev",),
    "psycopg2": ("libpq-dev",),
    "psycopg-c": ("libpq-dev",),
    "pillow": ("libjpeg-dev", "zlib1g-dev", "libfreetype-dev"),
    "lxml": ("libxml2-dev", "libxslt1-dev"),
    "cffi": ("libffi-dev",),
    "cryptography": ("libssl-dev", "libffi-dev"),
    "python-ldap": ("libldap-dev", "libsasl2-dev"),
    "xmlsec": ("libxml2-dev", "libxmlsec1-dev"),
    "pycurl": ("libcurl4-openssl-dev", "libssl-dev"),
    "pyodbc": ("unixodbc-dev",),
}


def package_that_failed(output: str) -> str:
    """Return the package that an installer could not build, in PEP 503's spelling, or nothing where
    something else failed.
    """
    if not re.search(
        r"(?i)\b(build|building|subprocess-exited|metadata-generation|setup\.py|PEP ?517)", output
    ):
        return ""
    at_work = (
        (AT_WORK,)
        if re.search(r"subprocess-exited-with-error|metadata-generation-failed", output)
        else ()
    )
    for pattern in (*UNBUILT, *at_work):
        found = pattern.findall(output)
        if found:
            return re.sub(r"[-_.]+", "-", str(found[-1])).lower()
    return ""


def development(python: str) -> tuple[str, ...]:
    """Return the packages with the headers of a Python; uv's own brings them."""
    if python == sys.executable:
        return ("python3-dev",)
    return (f"{Path(python).name}-dev",) if python.startswith("/usr/bin/") else ()
