"""What Apache's daemon processes load.

Wait until the gate is open, then become the release that serves.

A daemon process may have started while another release served: its environment's path is set anew
behind the gate. Standard library only.
"""

import os
import runpy
import site
import sys
import time
from pathlib import Path

procedures = Path(__file__).resolve().parent
root = procedures.parent
deploy = root / "current" / ".deploy"
conf = dict(
    line.split("=", 1)
    for line in (procedures / "app.conf").read_text(encoding="utf-8").splitlines()
    if "=" in line
)


def must_wait() -> bool:
    """Tell whether a window is open, or was cut off, which only root can put back.

    One that begins after this waits for this process to end.
    """
    try:
        holder = (
            Path(f"/run/{conf['name'].strip(chr(39))}/closed").read_text(encoding="utf-8").strip()
        )
    except FileNotFoundError:
        holder = ""
    return bool(holder and Path(f"/proc/{holder}").exists()) or (root / "transition").exists()


while must_wait():
    time.sleep(0.1)
deploy = deploy.resolve()

home, environment = sys.prefix, str((deploy / "venv").resolve())
sys.path[:] = [path for path in sys.path if not path.startswith(f"{home}/")]
sys.prefix = sys.exec_prefix = environment
site.addsitedir(
    f"{environment}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
)
os.environ.clear()
os.environ.update(PATH="/usr/local/bin:/usr/bin:/bin", HOME=str(root), LANG="C.UTF-8")
runpy.run_path(str(deploy / "with-env"), run_name="with_env")["enter"]()
sys.path.insert(0, str(procedures))
from decant_load import load  # noqa: E402

sys.path[0] = str(Path.cwd())  # the release's folder, where with-env has led
application = load((deploy / "application").read_text(encoding="utf-8").rstrip("\n"))
