"""Import the application in a release's own environment, and say which migrations wait.

One JSON document on standard output.

Arguments: `module:callable` or `module:factory(literals)`, `yes` when migrations are to be looked
at, and the variable whose URL must let us log in (an
external database), or nothing. Exit code 3 when it does not, 1 when the callable is not there, each
with one line on standard error. Runs under with-env.
"""

import json
import os
import socket
import sys
import traceback
from pathlib import Path
from urllib.parse import unquote, urlsplit

from decant_load import load


def heads() -> dict[str, list[str]]:
    """Return the migration heads of the code and of the database, through Flask-Migrate's own
    configuration.
    """
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from flask.cli import ScriptInfo

    app = ScriptInfo().load_app()
    with app.app_context():
        extension = app.extensions["migrate"]
        script = ScriptDirectory.from_config(extension.migrate.get_config())
        with extension.db.engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_heads()
    return {"code": sorted(script.get_heads()), "database": sorted(current)}


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


def main() -> int:
    """Print what was found."""
    sys.path[0] = str(Path.cwd())  # not this script's folder: the release's, where it is started
    result: dict[str, object] = {}
    try:
        if sys.argv[3]:
            log_in(sys.argv[3])
        load(sys.argv[1])
        if sys.argv[2] == "yes":
            result = dict(heads())
    except LoginError as error:
        print(error, file=sys.stderr)
        return 3
    except BaseException as error:
        if not isinstance(error, LookupError) or isinstance(error, KeyError):
            traceback.print_exc()
        missing = isinstance(error, KeyError) and error.args == ("migrate",)
        print(
            (
                "app.migrate: there is a migrations folder, but the application has no"
                " Flask-Migrate"
                if missing
                else f"{type(error).__name__}: {error}"
            ),
            file=sys.stderr,
        )
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: threads and exit handlers of the application have no say in this.
    os._exit(code)
