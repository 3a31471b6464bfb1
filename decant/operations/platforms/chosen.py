"""Which application a task for a platform is about."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from decant.config import targets
from decant.errors import DeployError

if TYPE_CHECKING:
    from decant.config.models import Settings


def settings_for(platform: str) -> "Settings":
    """Return the settings of the one application that hosts.toml or DECANT_APP names, as they hold
    on a platform.

    Raises DeployError where several are meant.
    """
    from decant.config import files, inventory

    found = inventory.load(files.find(Path.cwd()))
    found.check()
    apps = targets.applications(found, os.environ.get(targets.VARIABLE, ""))
    if len(apps) > 1:
        raise DeployError(f"{platform}: one application at a time: {targets.VARIABLE}={apps[0]}")
    return found.settings("", apps[0], platform)
