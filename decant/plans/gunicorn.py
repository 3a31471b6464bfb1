"""gunicorn: what a release brings to be served by it."""

from typing import TYPE_CHECKING

from decant.plans.rendering import render

if TYPE_CHECKING:
    from decant.config.models import Settings


def files(settings: "Settings") -> dict[str, tuple[str, int]]:
    """Return gunicorn's files in a release's .deploy folder, each with its mode."""
    return {
        "start": (render("gunicorn/start.j2", settings), 0o755),
        "gunicorn.conf.py": (render("gunicorn/gunicorn.conf.py.j2", settings), 0o644),
    }
