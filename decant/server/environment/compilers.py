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
# pip's last words, with all of them at once
ALL_OF_THEM = re.compile(
    r"based projects \(([\w., -]+)\)|^Failed to build ([A-Za-z0-9][\w.-]*(?: [A-Za-z0-9][\w.-]*)*)$",
    re.MULTILINE,
)
# Where none of them names it: the package that pip was at when one's own build ended it.
AT_WORK = re.compile(r"(?:Collecting|Processing) (?:\S*/)?([A-Za-z0-9][\w.-]*)")
# Signs that compilers or headers are what is missing; another cause is not fixed by them.
UNCOMPILED = re.compile(
    r"(?i)(?<!\w)(gcc|g\+\+|cc|clang|compiler|compilation|cmake|pkg-config|[\w-]+[-_]config"
    r"|python\.h|fatal error: \S+\.h)(?!\w)"
    r"|(?<!\w)make(?=:|'|\"| failed| not found| is required|\.program)"
)
COMPILERS = ("gcc", "g++", "libc6-dev", "make", "pkg-config")
# Debian's packages with the headers that each wants: what its documentation names for Debian, or
# what Debian's own source package of it builds with (Build-Depends; packages.debian.org/source).
HEADERS = {
    "argon2-cffi-bindings": ("libffi-dev",),
    "bcrypt": ("libffi-dev", "cargo"),
    "cairocffi": ("libcairo2-dev", "libffi-dev"),
    "cffi": ("libffi-dev",),
    "confluent-kafka": ("librdkafka-dev",),
    "cryptography": ("libssl-dev", "libffi-dev", "cargo"),
    "dbus-python": ("libdbus-1-dev", "libglib2.0-dev"),
    "fiona": ("libgdal-dev",),
    "gdal": ("libgdal-dev",),
    "gevent": ("libffi-dev", "libev-dev", "libc-ares-dev"),
    "gmpy2": ("libgmp-dev", "libmpfr-dev", "libmpc-dev"),
    "gssapi": ("libkrb5-dev",),
    "h5py": ("libhdf5-dev",),
    "krb5": ("libkrb5-dev",),
    "lxml": ("libxml2-dev", "libxslt1-dev"),
    "m2crypto": ("libssl-dev", "swig"),
    "mariadb": ("libmariadb-dev",),
    "matplotlib": ("libfreetype-dev", "libpng-dev"),
    "mysqlclient": ("default-libmysqlclient-dev",),
    "numpy": ("libopenblas-dev", "gfortran"),
    "pillow": ("libjpeg-dev", "zlib1g-dev", "libfreetype-dev", "liblcms2-dev", "libwebp-dev"),
    "psycopg-c": ("libpq-dev",),
    "psycopg2": ("libpq-dev",),
    "psycopg2-binary": ("libpq-dev",),
    "pycairo": ("libcairo2-dev",),
    "pycurl": ("libcurl4-openssl-dev", "libssl-dev"),
    "pygobject": ("libgirepository1.0-dev", "libcairo2-dev"),
    "pygraphviz": ("libgraphviz-dev",),
    "pyicu": ("libicu-dev",),
    "pymssql": ("freetds-dev", "libkrb5-dev"),
    "pynacl": ("libsodium-dev", "libffi-dev"),
    "pyodbc": ("unixodbc-dev",),
    "pyproj": ("libproj-dev", "proj-bin"),
    "python-ldap": ("libldap-dev", "libsasl2-dev"),
    "python-snappy": ("libsnappy-dev",),
    "pyyaml": ("libyaml-dev",),
    "pyzmq": ("libzmq3-dev",),
    "scipy": ("libopenblas-dev", "gfortran"),
    "shapely": ("libgeos-dev",),
    "tables": ("libhdf5-dev",),
    "xmlsec": ("libxml2-dev", "libxmlsec1-dev", "libxmlsec1-openssl"),
}


def packages_that_failed(output: str) -> tuple[str, ...]:
    """Return the packages that an installer could not build, in PEP 503's spelling, or nothing
    where something else failed.
    """
    # A build may print lines without an end.
    output = "\n".join(line[:1000] for line in output.splitlines())
    if not re.search(
        r"(?i)\b(build|building|subprocess-exited|metadata-generation|setup\.py|PEP ?517)", output
    ):
        return ()
    found: list[str] = []
    for groups in ALL_OF_THEM.findall(output):
        found += re.split(r"[,\s]+", "".join(groups))
    for pattern in UNBUILT:
        found = found or pattern.findall(output)
    if not found and re.search(r"subprocess-exited-with-error|metadata-generation-failed", output):
        found = AT_WORK.findall(output)[-1:]
    spelled = (re.sub(r"[-_.]+", "-", name).lower() for name in found if name)
    return tuple(dict.fromkeys(spelled))


def development(python: str) -> tuple[str, ...]:
    """Return the packages with the headers of a Python; uv's own brings them."""
    if python == sys.executable:
        return ("python3-dev",)
    return (f"{Path(python).name}-dev",) if python.startswith("/usr/bin/") else ()
