"""Migrate an application's database, and tell whether there is something to do.

What `app.migrate = "auto"` knows: Flask-Migrate, wherever its folder is, an alembic.ini without it,
and Django. Each is asked through the application that `wsgi.app` names and its own configuration,
never through a module that happens to lie there.

As a program, in a release's folder, environment and variables: `upgrade`, or `downgrade HEADS`
(comma-separated, as `code` told them in the release that is wanted); then `wsgi.app`, and the
variable that holds the URL of the database that hosts.toml names. Standard library only.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from decant_load import flask_applications, load

FOLDERS = ("migrations", "alembic")  # that a migration tool of another kind may have
PORTS = {"mysql": 3306, "mariadb": 3306, "postgres": 5432, "postgresql": 5432}


class Refused(Exception):
    """The migrations cannot be used as they are; its text is for the person."""


class Alembic:
    """The migrations of an alembic configuration; `within`: in which its env.py has to run."""

    def __init__(
        self,
        name: str,
        config: Any,
        within: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        from alembic.script import ScriptDirectory

        self.name, self.config, self.within = name, config, within
        self.script = ScriptDirectory.from_config(config)
        self._at: list[str] | None = None
        self._url = ""

    def code(self) -> list[str]:
        """Return the heads of the code."""
        heads = sorted(self.script.get_heads())
        if len(heads) > 1:
            raise Refused(
                f"there are several migration heads ({', '.join(heads)}); join them with:"
                f" {'flask db' if self.name == 'Flask-Migrate' else 'alembic'} merge heads"
            )
        return heads

    def _ask(self) -> list[str]:
        """Run env.py, which alone knows the database; return its heads."""
        from alembic.runtime.environment import EnvironmentContext

        if self._at is None:
            # One for each database of env.py: SQLALCHEMY_BINDS may name several.
            found: list[list[str]] = []

            def look(_: Any, context: Any) -> list[Any]:
                heads = context.get_current_heads()
                found.append(sorted(heads))
                if context.connection is not None and not self._url:
                    url = context.connection.engine.url
                    shown = getattr(url, "render_as_string", None)  # SQLAlchemy 1.4 and newer
                    self._url = shown(hide_password=False) if shown else str(url)
                return []

            with (
                self.within(),
                EnvironmentContext(self.config, self.script, fn=look, dont_mutate=True),
            ):
                self.script.run_env()
            behind = [heads for heads in found if heads != self.code()]
            self._at = behind[0] if behind else found[0] if found else []
        return self._at

    def database(self, _: list[str]) -> list[str]:
        """Return the heads of the database."""
        return self._ask()

    def pending(self) -> bool:
        """Tell whether an upgrade has something to do."""
        return self._ask() != self.code()

    def url(self) -> str:
        """Return the URL of the database that they change."""
        self._ask()
        return self._url

    def upgrade(self) -> None:
        """Migrate the database up to the code."""
        from alembic import command

        with self.within():
            command.upgrade(self.config, "head")

    def downgrade(self, heads: list[str]) -> None:
        """Migrate the database down to the heads of an older release."""
        from alembic import command

        with self.within():
            command.downgrade(self.config, ",".join(heads) or "base")


class Django:
    """The migrations of a Django project's default database."""

    name = "Django"

    def __init__(self) -> None:
        from django.db import connection
        from django.db.migrations.executor import MigrationExecutor

        self.connection = connection
        self.executor = MigrationExecutor(connection)
        self.loader = self.executor.loader

    def code(self) -> list[str]:
        """Return the last migration of each of its apps, as APP.NAME."""
        conflicts = self.loader.detect_conflicts()
        if conflicts:
            raise Refused(
                f"there are several migrations at the end of {', '.join(sorted(conflicts))}; join"
                " them with: manage.py makemigrations --merge"
            )
        return sorted(f"{app}.{name}" for app, name in self.loader.graph.leaf_nodes())

    def database(self, known: list[str]) -> list[str]:
        """Return the last migration of each app in the database; `known`: of another release."""
        graph = self.loader.graph
        applied = set(self.loader.applied_migrations)
        ours = {key for key in applied if key in graph.nodes}
        heads = {
            key
            for key in ours
            if not any(
                child.key in ours
                for child in graph.node_map[key].children
                if child.key[0] == key[0]
            )
        }
        # What this code does not have any more counts where the other release has it.
        apps = {app for app, _ in graph.nodes}
        for head in known:
            app, _, name = head.partition(".")
            if app not in apps and (app, name) in applied:
                heads.add((app, name))
        return sorted(f"{app}.{name}" for app, name in heads)

    def pending(self) -> bool:
        """Tell whether an upgrade has something to do."""
        return bool(self.executor.migration_plan(self.loader.graph.leaf_nodes()))

    def url(self) -> str:
        """Return the URL of the database that they change."""
        settings = self.connection.settings_dict
        kind, name = self.connection.vendor, str(settings["NAME"])
        if kind == "sqlite":
            return f"sqlite:///{name}"
        host = settings["HOST"] or "localhost"
        host = "localhost" if host.startswith("/") else f"[{host}]" if ":" in host else host
        return f"{kind}://{host}:{settings['PORT'] or PORTS.get(kind, '')}/{name}"

    def upgrade(self) -> None:
        """Migrate the database up to the code."""
        from django.core.management import call_command

        call_command("migrate", interactive=False)

    def downgrade(self, heads: list[str]) -> None:
        """Migrate the database down to the heads of an older release."""
        from django.core.management import call_command

        wanted = dict(head.split(".", 1) for head in heads)
        for app, name in (head.split(".", 1) for head in self.database(heads)):
            if wanted.get(app) != name:
                call_command("migrate", app, wanted.get(app, "zero"), interactive=False)


Migrations = Alembic | Django


def find(application: object, named: str = "") -> Migrations | None:
    """Return the migrations of an application, or None where it has none.

    `named`: the URL of the database that hosts.toml names, or nothing. Raises Refused for what
    cannot be used.
    """
    found: list[Migrations] = [*_flask_migrate(application), *_alembic(), *_django()]
    flask = {_script(each) for each in found if each.name == "Flask-Migrate"}
    found = [each for each in found if each.name != "alembic" or _script(each) not in flask]
    if len(found) > 1:
        raise Refused(
            "app.migrate: auto finds more than one kind of migration"
            f" ({', '.join(each.name for each in found)}); set it to the command that runs what is"
            " needed, with app.pending beside it"
        )
    if not found:
        _refuse_unknown()
        return None
    _refuse_another_database(found[0], named)
    return found[0]


def _script(migrations: Migrations) -> str:
    return os.path.realpath(migrations.script.dir) if isinstance(migrations, Alembic) else ""


def _flask_migrate(application: object) -> Iterator[Alembic]:
    """Yield the migrations of Flask-Migrate, each folder and database once."""
    seen = set()
    for app in flask_applications(application):
        extension = app.extensions.get("migrate")
        if extension is None or not hasattr(extension, "migrate"):
            continue
        with app.app_context():
            folder = Path(str(extension.directory))
            key = (os.path.realpath(folder), str(app.config.get("SQLALCHEMY_DATABASE_URI")))
            if (folder / "env.py").is_file() and key not in seen:
                seen.add(key)
                yield Alembic("Flask-Migrate", extension.migrate.get_config(), app.app_context)


def _alembic() -> Iterator[Alembic]:
    """Yield the migrations of alembic.ini or pyproject.toml in the application's folder."""
    project = Path("pyproject.toml")
    by_project = project.is_file() and "[tool.alembic]" in project.read_text("utf-8", "replace")
    if not Path("alembic.ini").is_file() and not by_project:
        return
    try:
        from alembic.config import Config
    except ImportError:
        raise Refused(
            "app.migrate: there is an alembic.ini, and alembic is not among the application's"
            " requirements; add it there or to python.packages, or set app.migrate"
        ) from None
    yield Alembic(
        "alembic",
        Config("alembic.ini", toml_file="pyproject.toml") if by_project else Config("alembic.ini"),
    )


def _django() -> Iterator[Django]:
    """Yield the migrations of a Django project that the application has set up."""
    apps = sys.modules.get("django.apps")
    if apps is None or not apps.apps.ready:
        return
    from django.conf import settings

    if settings.DATABASES.get("default", {}).get("ENGINE", "").endswith("dummy"):
        return
    yield Django()


def _refuse_unknown() -> None:
    """Refuse migrations that nothing here runs: a release would go live without them."""
    for folder in FOLDERS:
        if Path(folder, "env.py").is_file():
            raise Refused(
                f"app.migrate: there is a folder {folder}, but the application that wsgi.app names"
                " has no Flask-Migrate, and there is no alembic.ini beside it; set app.migrate to"
                ' the command that migrates, and app.pending beside it, or to "" for none'
            )


def _refuse_another_database(migrations: Migrations, named: str) -> None:
    """Refuse to migrate another database than the one that is dumped and put back."""
    theirs = migrations.url()
    if not named or not theirs or _place(theirs) == _place(named):
        return
    server, file = _place(theirs)
    raise Refused(
        f"app.migrate: {migrations.name} changes the database {_shown(theirs)}, and hosts.toml names"
        f" {_shown(named)}, which is the one that is dumped and put back; have the application read"
        " the URL in db.variable, or set "
        + ("[db] to what it uses" if server else f'db.path = "{file}"')
        + ' (db.kind = "none": it is never dumped)'
    )


def _place(url: str) -> tuple[str, str]:
    """Return where a database is, as one compares it: its server or nothing, and its name."""
    scheme, _, rest = url.partition("://")
    kind = scheme.partition("+")[0]
    if kind == "sqlite":
        path = unquote(rest.partition("?")[0].removeprefix("/"))
        return "", os.path.realpath(path) if path else ":memory:"
    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    host = "localhost" if host in ("127.0.0.1", "::1") else host
    return f"{host}:{parts.port or PORTS.get(kind, 0)}", unquote(parts.path.lstrip("/"))


def _shown(url: str) -> str:
    """Return a URL without its password; of SQLite, where the file really is."""
    server, file = _place(url)
    if not server:
        return f"sqlite:///{file}"
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", "@") if parts.password else url


def main() -> None:
    """Migrate up, or down."""
    action, *heads, spec, variable = sys.argv[1:]
    sys.path[0] = str(Path.cwd())  # not this program's folder: the release's
    sys.argv = [spec]
    try:
        migrations = find(load(spec), os.environ.get(variable, ""))
        if migrations is None:
            raise Refused("app.migrate: the application has no migrations that auto knows")
        if action == "upgrade":
            migrations.upgrade()
        else:
            migrations.downgrade([head for head in heads[0].split(",") if head])
    except Refused as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
