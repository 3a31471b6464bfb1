"""What Apache's daemon processes load: wait in the gate, then become the release that serves.

A daemon process may have started while another release served: its environment's path is set anew behind the gate. Standard library only.
"""

import fcntl
import os
import runpy
import site
import sys
import time
from pathlib import Path

procedures = Path(__file__).resolve().parent
root = procedures.parent
deploy = root / "current" / ".deploy"
conf = dict(line.split("=", 1) for line in (procedures / "app.conf").read_text(encoding="utf-8").splitlines() if "=" in line)


def wait_in_the_gate() -> int:
    """Share the gate's lock when no window is open and none was cut off; what was cut off only root can put back."""
    while True:
        gate = os.open(f"/run/{root_name}/gate", os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(gate, fcntl.LOCK_SH)
        if not (root / "transition").exists():
            return gate
        os.close(gate)
        time.sleep(0.2)


root_name = conf["name"].strip("'")
gate = wait_in_the_gate()
deploy = deploy.resolve()
# Only now the gate may close again: what starts here is this release, and a window that begins meanwhile waits for this process to end.
os.close(gate)

home, environment = sys.prefix, str((deploy / "venv").resolve())
sys.path[:] = [path for path in sys.path if not path.startswith(f"{home}/")]
sys.prefix = sys.exec_prefix = environment
site.addsitedir(f"{environment}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")
os.environ.clear()
os.environ.update(PATH="/usr/local/bin:/usr/bin:/bin", HOME=str(root), LANG="C.UTF-8")
runpy.run_path(str(deploy / "with-env"), run_name="with_env")["enter"]()
sys.path.insert(0, str(procedures))
from decant_load import load  # noqa: E402

sys.path[0] = str(Path.cwd())  # the release's folder, where with-env has led
application = load((deploy / "application").read_text(encoding="utf-8").rstrip("\n"))
