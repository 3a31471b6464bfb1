"""Make patchwork 1.0.1 importable beside invoke 2.

patchwork asks for `invoke.vendor.six`, which invoke 2 no longer carries (fabric/patchwork issues 41 and 48); the six package is the same
module. Import this module before patchwork.
"""

import sys

import six
from invoke import vendor

sys.modules.setdefault("invoke.vendor.six", six)
if not hasattr(vendor, "six"):
    setattr(vendor, "six", six)  # noqa: B010  # the attribute is not in invoke's types
