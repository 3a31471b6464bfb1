"""uWSGI: what a release brings to be served by it."""

from typing import TYPE_CHECKING

from decant.plans.rendering import render

if TYPE_CHECKING:
    from decant.config.models import Settings


def files(settings: "Settings") -> dict[str, tuple[str, int]]:
    """Return uWSGI's files in a release's .deploy folder, each with its mode."""
    return {
        "start": (render("uwsgi/start.j2", settings), 0o755),
        "uwsgi_application.py": (render("uwsgi/application.py.j2", settings), 0o644),
        "uwsgi.ini": (render("uwsgi/uwsgi.ini.j2", settings), 0o644),
    }
