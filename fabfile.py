"""The tree of names that `fab --list` shows."""

import gc
import os
import sys

# invoke keeps Python from caching compiled modules unless it gets --write-pyc: in a clone every
# command would compile all of these anew.
sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
# What is imported stays: Python need not look for garbage in it again and again.
gc.set_threshold(50_000)

from decant.tasks import ns  # noqa: E402

__all__ = ["ns"]
