"""patchwork's rsync, where patchwork is installed.

patchwork 1.0.1 demands fabric<3, so that it cannot be a dependency of a package that needs fabric
3; requirements.txt overrides that. It asks for
`invoke.vendor.six`, which invoke 2 no longer carries (fabric/patchwork issues 41 and 48); the six
package is the same module.
"""

import sys
from typing import Any


def rsync() -> Any:
    """Return patchwork.transfers.rsync, which quotes nothing: hand it only what was looked at.

    None where patchwork is not installed.
    """
    try:
        import six
        from invoke import vendor

        sys.modules.setdefault("invoke.vendor.six", six)
        if not hasattr(vendor, "six"):
            setattr(vendor, "six", six)  # noqa: B010  # the attribute is not in invoke's types
        from patchwork.transfers import rsync as theirs
    except ImportError:
        return None
    return theirs
