"""The tree of names that `fab --list` shows."""

import os
import sys

# invoke keeps Python from caching compiled modules unless it gets --write-pyc: in a clone every
# command would compile all of these anew.
sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))

from decant.tasks import ns  # noqa: E402

__all__ = ["ns"]
