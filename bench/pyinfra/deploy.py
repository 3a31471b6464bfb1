"""The guestbook on gunicorn, systemd, nginx and SQLite."""

import io
import secrets

from pyinfra import host
from pyinfra.facts.files import File
from pyinfra.facts.server import Command
from pyinfra.operations import apt, files, git, pip, server, systemd

HOME = "/srv/guestbook"

apt.packages(
    name="Install packages",
    packages=["git", "nginx", "python3-venv", "ufw"],
    no_recommends=True,
    update=True,
    cache_time=86400,
)
server.user(
    name="Make the account", user="guestbook", system=True, home=HOME, shell="/usr/sbin/nologin"
)
files.directory(name="Let nginx into its folder", path=HOME, mode="755")
files.directory(
    name="Make the folder of the database", path=f"{HOME}/data", user="guestbook", group="guestbook"
)

code = git.repo(
    name="Check out the code",
    src="/srv/git/guestbook.git",
    dest=f"{HOME}/app",
    branch="main",
    pull=True,
)
pip.venv(name="Make the environment", path=f"{HOME}/venv", python="python3")
pip.packages(
    name="Install the requirements",
    requirements=f"{HOME}/app/requirements.txt",
    virtualenv=f"{HOME}/venv",
)

if not host.get_fact(File, path=f"{HOME}/environment"):
    text = f"SECRET_KEY={secrets.token_hex(32)}\nDATABASE_URL=sqlite:///{HOME}/data/guestbook.db\n"
    files.put(
        name="Write the variables once",
        src=io.StringIO(text),
        dest=f"{HOME}/environment",
        mode="600",
    )

server.shell(
    name="Migrate the database",
    commands=[
        f"cd {HOME}/app && env $(cat {HOME}/environment) setpriv --reuid guestbook --regid"
        " guestbook --init-groups ../venv/bin/flask --app wsgi db upgrade"
    ],
    _if=code.did_change,
)
unit = files.put(
    name="Write the unit",
    src="../files/guestbook.service",
    dest="/etc/systemd/system/guestbook.service",
    mode="644",
)
systemd.service(
    name="Enable and start the unit",
    service="guestbook",
    running=True,
    enabled=True,
    daemon_reload=unit.changed,
)
systemd.service(
    name="Restart the unit",
    service="guestbook",
    restarted=True,
    _if=lambda: code.did_change() or unit.did_change(),
)

site = files.put(
    name="Write the site",
    src="../files/guestbook.nginx",
    dest="/etc/nginx/sites-available/guestbook",
    mode="644",
)
files.link(
    name="Enable the site",
    path="/etc/nginx/sites-enabled/guestbook",
    target="../sites-available/guestbook",
)
files.link(name="Disable the default site", path="/etc/nginx/sites-enabled/default", present=False)
systemd.service(name="Reload nginx", service="nginx", reloaded=True, _if=site.did_change)

if "Status: active" not in (host.get_fact(Command, command="ufw status 2>/dev/null || true") or ""):
    server.shell(
        name="Close the firewall",
        commands=["ufw allow 22/tcp && ufw allow 80/tcp && ufw --force enable"],
    )

server.shell(
    name="Ask for health",
    commands=[
        "for n in 1 2 3 4 5 6 7 8 9 10; do python3 -c 'import urllib.request as u;"
        ' u.urlopen("http://127.0.0.1/up")\' && exit 0; sleep 1; done; exit 1'
    ],
)
