"""Import the application in a release's own environment, and say which migrations wait: one JSON document on standard output.

Argument: `module:callable` or `module:factory(literals)`, then `yes` when migrations are to be looked at. Exit code 1 with one line on
standard error when the callable is not there. Runs under with-env.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from decant_load import load


def heads() -> dict[str, list[str]]:
    """Return the migration heads of the code and of the database, through Flask-Migrate's own configuration."""
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


def main() -> int:
    """Print what was found."""
    sys.path[0] = str(Path.cwd())  # not this script's folder: the release's, where it is started
    result: dict[str, object] = {}
    try:
        load(sys.argv[1])
        if sys.argv[2] == "yes":
            result = dict(heads())
    except BaseException as error:
        if not isinstance(error, LookupError) or isinstance(error, KeyError):
            traceback.print_exc()
        missing = isinstance(error, KeyError) and error.args == ("migrate",)
        print(
            "app.migrate: there is a migrations folder, but the application has no Flask-Migrate" if missing else f"{type(error).__name__}: {error}",
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
