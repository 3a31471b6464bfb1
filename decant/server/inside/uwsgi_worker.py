"""What each of uWSGI's workers does before it accepts requests, beside its settings.

`start(name, prefix)` returns the application of that name, after it was asked for health where a
window waits for it. Standard library only.
"""

import os
import runpy
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def start(name: str, prefix: str = "") -> Any:
    """Load the application, and tell the window that this worker is ready.

    `prefix`: the path below which it is.
    """
    # Not imported: the application may have modules of these names.
    application = runpy.run_path(str(HERE / "decant_load.py"))["load"](name)
    application = runpy.run_path(str(HERE / "decant_mounted.py"))["under"](prefix, application)
    ready = runpy.run_path(str(HERE / "ready.py"))
    ready["worker"](application, int(os.environ.get("DECANT_WORKERS", "1")))
    return application
