"""The Flask application inside the WSGI callable that hosts.toml names, for the commands of flask.

It lies in a release's .deploy folder: FLASK_APP leads here where the callable is middleware.
"""

import runpy
import sys
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
PROCEDURES = DEPLOY.parents[2] / "procedures"
LOADER = runpy.run_path(str(PROCEDURES / "decant_load.py"))
SPEC = (DEPLOY / "flask").read_text(encoding="utf-8").strip()
# Not this folder, which flask has put there: the release's, in which its commands run.
sys.path[0] = str(Path.cwd())
app = LOADER["flask_applications"](LOADER["load"](SPEC))[0]
