"""Import the application in a release's own environment, and say what its database waits for.

One JSON document on standard output; what the application prints goes to standard error.

Arguments: `module:callable` or `module:factory(literals)`, or nothing; `yes` when migrations are to be looked
at; the variable with the URL of the database that hosts.toml names, or nothing; `yes` where that
URL must let us log in (an external database); the file of its SQLite database, or nothing; the
migration heads of another release, or nothing; wsgi.interface, and the server of the release.
Exit code 3 for what is said as it is, 1 when the callable is not there, each with one line on
standard error. Runs under with-env.
"""

import inspect
import json
import os
import socket
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import decant_migrations as migrations
from decant_load import SpecError, flask_applications, load

OURS = str(Path(__file__).resolve().parent)


class LoginError(Exception):
    """The external database does not let the application in."""


def log_in(variable: str) -> None:
    """Log in to an external database with the driver that the application has.

    No message shows the password.
    """
    url = os.environ.get(variable, "")
    parts = urlsplit(url)
    where = f"{variable}: {parts.scheme}://{parts.hostname or ''}"
    try:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.pool import NullPool
    except ImportError:
        port = parts.port or (3306 if parts.scheme.startswith(("mysql", "mariadb")) else 5432)
        try:
            socket.create_connection((parts.hostname or "localhost", port), timeout=15).close()
        except OSError as error:
            raise LoginError(f"{where} cannot be reached from the server: {error}") from None
        return
    try:
        where = f"{variable}: {make_url(url).set(password=None, query={})}"
        create_engine(url, poolclass=NullPool).connect().close()
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        for secret in {parts.password or "", unquote(parts.password or "")} - {""}:
            said = said.replace(secret, "[REDACTED]")
        hint = (
            "; add the driver to the application's requirements, or to python.packages"
            if isinstance(error, ModuleNotFoundError)
            else ""
        )
        raise LoginError(f"{where} does not let the application log in: {said}{hint}") from None


def interface(application: object, spec: str, wanted: str, server: str) -> str:
    """Return what a callable is, `wsgi` or `asgi`; raise SpecError where it cannot be served so.

    Each request would fail: one takes a scope, the other an environment.
    """
    call = application if inspect.isfunction(application) else type(application).__call__
    coroutine = inspect.iscoroutinefunction(call)
    found = "asgi" if coroutine or wanted == "asgi" else "wsgi"
    if wanted == "wsgi" and coroutine:
        raise SpecError(
            f'wsgi.interface: {spec} is an ASGI application, and hosts.toml says "wsgi"; set it to'
            ' "auto" or "asgi"'
        )
    if wanted == "asgi" and flask_applications(application)[:1] == [application]:
        raise SpecError(
            f"wsgi.interface: {spec} is a Flask application, which is WSGI, and hosts.toml says"
            ' "asgi"; set it to "auto" or "wsgi"'
        )
    if server == "command":
        return found
    if found == "asgi" and server != "gunicorn":
        raise SpecError(
            f"wsgi.app: {spec} is an ASGI application, and {server} serves WSGI alone; set"
            ' wsgi.server = "gunicorn"'
        )
    workers = ("gunicorn.workers.gasgi", "uvicorn_worker")
    if found == "asgi" and not any(map(find_spec, workers)):
        raise SpecError(
            f"wsgi.app: {spec} is an ASGI application, and the application's requirements hold"
            " gunicorn to a version without a worker for those; raise it to 27, or add"
            " uvicorn-worker to them and name it in wsgi.options"
        )
    return found


def journal(file: str) -> str:
    """Return `wal` for a SQLite database in WAL mode, else `other`; nothing where there is none.

    By its header alone, as opening it would make its -wal and -shm
    (https://www.sqlite.org/fileformat2.html#file_format_version_numbers).
    """
    if not os.path.lexists(file):
        return ""
    try:
        if not Path(file).is_file():  # a pipe would never answer
            return "other"
        with Path(file).open("rb") as database:
            header = database.read(20)
    except OSError:
        return "other"
    return "wal" if header[18:] == b"\2\2" else "other" if header else ""


def look(
    spec: str, wanted: bool, named: str, file: str, known: list[str], served: tuple[str, str]
) -> dict[str, object]:
    """Return what was found: the heads, whether a migration waits, where Flask's is, SQLite's
    journal mode, and the interface of the callable.

    `served`: wsgi.interface and wsgi.server of hosts.toml.
    """
    application = load(spec) if spec else None  # a server of the application's own may need none
    found_interface = interface(application, spec, *served) if spec else ""
    flask = flask_applications(application) if spec else []
    how = "" if not flask else "itself" if flask[0] is application else "inside"
    found = migrations.find(application, named) if wanted else None
    return {
        "code": found.code() if found else [],
        "database": found.database(known) if found else [],
        "pending": found.pending() if found else False,
        "flask": how,
        "journal": journal(file) if file else "",
        "interface": found_interface,
    }


def frames(error: BaseException) -> str:
    """Return a traceback without our own frames, Python's import system, and its last line."""
    told = traceback.TracebackException.from_exception(error)
    each: traceback.TracebackException | None = told
    while each is not None:
        each.stack = traceback.StackSummary.from_list(
            frame
            for frame in each.stack
            if not frame.filename.startswith((OURS, "<frozen importlib"))
            and "/importlib/" not in frame.filename
        )
        each = each.__cause__ or each.__context__
    lines = "".join(told.format()).splitlines()
    return "\n".join(lines[:-1])


def said_of(error: BaseException) -> str:
    """Return an exception's last line, and where a syntax error is."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    lines = "".join(traceback.format_exception_only(error)).strip().splitlines()
    return lines[-1]


def main() -> int:
    """Print what was found."""
    spec, wanted, variable, external, file, known, *served = sys.argv[1:]
    sys.path[0] = str(Path.cwd())  # not this script's folder: the release's, where it is started
    sys.argv[1:] = []
    # What it prints on standard output, too, is no part of the answer.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    named = os.environ.get(variable, "") if variable else ""
    try:
        if external == "yes":
            log_in(variable)
        heads = [head for head in known.split(",") if head]
        result = look(spec, wanted == "yes", named, file, heads, (served[0], served[1]))
    except (LoginError, SpecError, migrations.Refused) as error:
        sys.stdout.flush()
        print(error, file=sys.stderr)
        return 3
    except BaseException as error:
        sys.stdout.flush()
        print(frames(error), file=sys.stderr)
        print(said_of(error), file=sys.stderr)
        return 1
    print(json.dumps(result), file=answer, flush=True)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: threads and exit handlers of the application have no say in this.
    os._exit(code)
