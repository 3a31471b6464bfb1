"""The tasks: one module a namespace, as `fab --list` shows them."""

import gc
import os
import sys

# invoke keeps Python from caching compiled modules unless it gets --write-pyc: every command would compile all of these anew.
sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))

# Importing makes many objects and hardly any garbage.
gc.set_threshold(50_000)
