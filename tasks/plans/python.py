"""The interpreter; environments are made by templates/procedures/environment.py when a release is prepared."""

from typing import TYPE_CHECKING

from tasks.core.steps import Packages, Plan

if TYPE_CHECKING:
    from tasks.core.settings import Settings

PACKAGES = ("python3", "python3-venv")


def install(settings: "Settings") -> Plan:
    """The distribution's Python with venv."""
    return (Packages(PACKAGES),)


def environment(settings: "Settings", commit: str) -> tuple[str, ...]:
    """Return the command that makes the current release's environment."""
    paths, python = settings.paths, settings.python
    folder = f"{paths.current}/{settings.app.subdir}".rstrip("/")
    words = ("build", folder, paths.environments, python.installer, "\n".join(python.packages), str(python.refresh), commit)
    return ("python3", "-I", f"{paths.procedures}/environment.py", *words)
