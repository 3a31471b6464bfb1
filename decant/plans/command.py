"""A server of the application's own: what a release brings to be served by it."""

from typing import TYPE_CHECKING

from decant.plans.rendering import render

if TYPE_CHECKING:
    from decant.config.models import Settings


def files(settings: "Settings") -> dict[str, tuple[str, int]]:
    """Return the command's files in a release's .deploy folder, each with its mode."""
    return {
        "start": (render("command/start.j2", settings), 0o755),
        "command": (f"{settings.wsgi.command}\n", 0o640),
    }
