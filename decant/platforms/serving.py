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
    """Return the command that serves; gunicorn reads gunicorn.conf.py where it is started."""
    if settings.wsgi.server == "command":
        return settings.wsgi.command.replace("{port}", "$PORT")
    return quoting.join(("gunicorn", settings.wsgi.app))


def gunicorn(settings: "Settings") -> dict[str, str]:
    """Return gunicorn's file of settings, where it serves; a platform may know how many workers."""
    wsgi = settings.wsgi
    if wsgi.server != "gunicorn":
        return {}
    given = {
        **({} if wsgi.workers == "auto" else {"workers": wsgi.workers}),
        "threads": wsgi.threads,
        "timeout": wsgi.timeout,
        "graceful_timeout": wsgi.timeout,
        # Whoever comes, comes by the platform's own router, which sets what it says of visitors.
        "forwarded_allow_ips": "*",
        **({"worker_class": "asgi"} if wsgi.interface == "asgi" else {}),
        **wsgi.options,
    }
    return {"gunicorn.conf.py": "".join(f"{name} = {value!r}\n" for name, value in given.items())}


def migration(settings: "Settings", bundle: Bundle) -> str:
    """Return the command that migrates the database, or nothing."""
    if settings.migrate != "auto":
        return settings.migrate
    return next((line for name, line in MIGRATIONS.items() if name in bundle.entries), "")
