"""The interpreter.

Environments are made by decant/server/environment/environment.py when a release is prepared.
"""

import json
from typing import TYPE_CHECKING

from decant.config.variables import deploy_variables
from decant.plans import db, stack
from decant.quoting import Secret
from decant.steps import File, Packages, Plan, Run

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

# What python3 is in each release, for servers that have neither Python nor package lists yet:
# packages.debian.org, packages.ubuntu.com.
PYTHON_VERSIONS = {
    "bullseye": "3.9",
    "bookworm": "3.11",
    "trixie": "3.13",
    "jammy": "3.10",
    "noble": "3.12",
}

EXTRAS = ("gevent", "eventlet", "tornado")  # of gunicorn, each by the name of its worker


def packages(settings: "Settings", facts: "Facts") -> tuple[str, ...]:
    """Return the Debian packages of the interpreter.

    Python3 always, as the procedures run on it, and another one where the distribution has it.
    """
    wanted = settings.python.version
    if not settings.is_app:
        return ("python3",)
    own = ("python3", "python3-venv")
    return (
        own
        if is_distributions(settings, facts) or wanted not in facts.pythons
        else (*own, f"python{wanted}", f"python{wanted}-venv")
    )


def install(settings: "Settings", facts: "Facts") -> Plan:
    """The wanted Python with venv.

    The distribution's, or one that uv provides where the distribution has none of that version.
    """
    return (Packages(packages(settings, facts)), *managed(settings, facts))


def managed(settings: "Settings", facts: "Facts") -> Plan:
    """Uv's build of the wanted Python, where the distribution has none of that version."""
    if (
        not settings.is_app
        or is_distributions(settings, facts)
        or settings.python.version in facts.pythons
    ):
        return ()
    provide = (
        "python3",
        "-I",
        f"{settings.paths.procedures}/environment.py",
        "python",
        settings.python.version,
    )
    there = (
        "sh",
        "-c",
        'test -x "$1"',
        "sh",
        f"/opt/decant/python/{settings.python.version}/bin/python3",
    )
    return (Run(provide, unless=there, label=f"Python {settings.python.version}, managed by uv"),)


def is_distributions(settings: "Settings", facts: "Facts") -> bool:
    """Tell whether the wanted Python is the distribution's own python3."""
    found = (
        ".".join(facts.python.split(".")[:2])
        or facts.distro_python
        or PYTHON_VERSIONS.get(facts.codename, "")
    )
    return settings.python.version in ("", found)


def of_current(settings: "Settings", facts: "Facts") -> Plan:
    """The release that serves has its environment, before anything starts it.

    Somebody may have removed it by hand.
    """
    current = facts.release(facts.current)
    if not current or not settings.is_app:
        return ()
    there = ("test", "-e", f"{settings.paths.current}/.deploy/venv/.decant-complete")
    # Without it the service fails and is started again and again: the attempt that counts is one
    # that began after it is there.
    again = (
        'service=$1; shift; "$@" && { [ "$(systemctl is-active "$service")" = inactive ] ||'
        ' systemctl restart "$service"; true; }'
    )
    make = environment(settings, current.commit)
    command = ("sh", "-c", again, "environment", settings.paths.service, *make)
    return (Run(command, unless=there, label="environment of the current release"),)


def wanted(settings: "Settings") -> Plan:
    """What hosts.toml says of the environment, for environment.py.

    In a file that only root reads: [python.env] may hold the password of an index.
    """
    if not settings.is_app:
        return ()
    python = settings.python
    found = {
        "installer": python.installer,
        "requirements": python.requirements,
        "groups": python.groups,
        "extras": python.extras,
        "packages": packages_beside(settings),
        "refresh": python.refresh,
        "version": python.version,
        "server": stack.server(settings),
        "driver": db.driver(settings),
        "env": deploy_variables(settings),
    }
    text = json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    path = f"{settings.paths.procedures}/environment.json"
    return (File(path, Secret(text) if python.env else text, mode=0o600),)


def packages_beside(settings: "Settings") -> tuple[str, ...]:
    """Return the requirements beside the application's own.

    A worker of gunicorn's that needs more than gunicorn comes with what it needs (gunicorn's
    "Settings", worker_class).
    """
    given = settings.python.packages
    worker = str(settings.wsgi.options.get("worker_class", ""))
    named = any(package.replace(" ", "").startswith("gunicorn[") for package in given)
    if settings.wsgi.server != "gunicorn" or worker not in EXTRAS or named:
        return given
    return (*given, f"gunicorn[{worker}]")


def environment(settings: "Settings", commit: str) -> tuple[str, ...]:
    """Return the command that makes the environment anew that the current release is linked to."""
    paths = settings.paths
    words = ("build", paths.current, settings.app.subdir.rstrip("/"), paths.environments, commit)
    linked = 'exec python3 -I "$0" "$@" "$(basename "$(readlink "$LINK")")"'
    return (
        "env",
        f"LINK={paths.current}/.deploy/venv",
        "sh",
        "-c",
        linked,
        f"{paths.procedures}/environment.py",
        *words,
    )
