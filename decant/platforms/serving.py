"""How the application is started on a platform: one line for each kind of process, for a shell.

gunicorn listens on 0.0.0.0:$PORT by itself where PORT is set, which every platform does.
"""

from typing import TYPE_CHECKING

from decant import quoting
from decant.platforms.bundle import Bundle

if TYPE_CHECKING:
    from decant.config.models import Settings

# What stands at the top of the source, and the command that migrates by it.
MIGRATIONS = {
    "manage.py": "python manage.py migrate --noinput",
    "migrations/env.py": "flask db upgrade",
    "alembic.ini": "alembic upgrade head",
}


def web(settings: "Settings") -> str:
    """Return the command that serves."""
    wsgi = settings.wsgi
    if wsgi.server == "command":
        return wsgi.command.replace("{port}", "$PORT")
    given = {
        **({} if wsgi.workers == "auto" else {"workers": wsgi.workers}),
        **({} if wsgi.threads == 1 else {"threads": wsgi.threads}),
        "timeout": wsgi.timeout,
        # Whoever comes, comes by the platform's own router, which sets what it says of visitors.
        "forwarded_allow_ips": "*",
        **({"worker_class": "asgi"} if wsgi.interface == "asgi" else {}),
        **wsgi.options,
    }
    words = [word for name, value in given.items() for word in _option(name, value)]
    return quoting.join(("gunicorn", *words, wsgi.app))


def migration(settings: "Settings", bundle: Bundle) -> str:
    """Return the command that migrates the database, or nothing."""
    if settings.migrate != "auto":
        return settings.migrate
    return next((line for name, line in MIGRATIONS.items() if name in bundle.entries), "")


def _option(name: str, value: object) -> list[str]:
    """Return one of gunicorn's settings as words of its command line."""
    flag = f"--{name.replace('_', '-')}"
    if value is True:
        return [flag]
    return [] if value is False else [flag, str(value)]
