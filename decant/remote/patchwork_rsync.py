"""patchwork 1.0.1 beside invoke 2: what we use of it is imported through here.

patchwork asks for `invoke.vendor.six`, which invoke 2 no longer carries (fabric/patchwork issues 41 and 48); the six package is the same
module.
"""

import sys
from typing import Any

import six
from invoke import vendor

sys.modules.setdefault("invoke.vendor.six", six)
if not hasattr(vendor, "six"):
    setattr(vendor, "six", six)  # noqa: B010  # the attribute is not in invoke's types


def rsync(*words: Any, **options: Any) -> Any:
    """Call patchwork.transfers.rsync, which quotes nothing: hand it only what was looked at."""
    from patchwork.transfers import rsync as theirs

    return theirs(*words, **options)
