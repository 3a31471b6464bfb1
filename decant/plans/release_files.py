"""The files that belong to one release: its `.deploy` folder."""

import io
import json
import tarfile
from typing import TYPE_CHECKING

from decant.config.variables import (
    deploy_variables,
    dialect,
    dotenv,
    plain_variables,
    variables,
    with_database,
    with_password,
)
from decant.errors import SettingsError
from decant.paths import local
from decant.plans import db, processes, site, stack
from decant.plans.rendering import procedure, render, render_file
from decant.quoting import Secret
from decant.steps import File, Plan

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts


def check(settings: "Settings") -> None:
    """Raise SettingsError for what no release can be made of: a variable, a file of app.files."""
    if settings.is_app:
        variables(settings)
        deploy_variables(settings)
        _own_files(settings)


def contents(settings: "Settings", facts: "Facts") -> dict[str, tuple[bytes, int]]:
    """Return the files of a release's .deploy folder by name, each with its mode."""
    sites = {
        # For both proxies: the one in front may change without a release.
        f"{proxy}.conf": (
            render(f"{proxy}/release.conf.j2", settings, digest=site.DIGEST).encode(),
            0o644,
        )
        for proxy in ("nginx", "apache")
    }
    if settings.proxy.prefix:  # below which a health check finds this release
        sites["prefix"] = (f"{settings.proxy.prefix}\n".encode(), 0o644)
    if not settings.is_app:
        why = b"the application does not run on this host\n"
        return {"server": (b"none\n", 0o644), "switch": (why, 0o644), **sites}
    given = variables(settings)
    found = {
        "server": (f"{settings.wsgi.server}\n".encode(), 0o644),
        "switch": (f"{stack.switch(settings)}\n".encode(), 0o644),
        **{
            name: (text.encode(), mode)
            for name, (text, mode) in stack.release_files(settings, facts.cores).items()
        },
        **sites,
        "env": (dialect(given).encode(), 0o640),
        "with-env": (procedure("with-env"), 0o755),
        "decant_flask_app.py": (procedure("decant_flask_app.py"), 0o644),
    }
    if settings.wsgi.app:
        found["flask"] = (f"{settings.wsgi.app}\n".encode(), 0o644)
    if settings.has_database_server:
        found["database"] = (
            " ".join((settings.db.variable, db.scheme(settings), *with_password(settings))).encode()
            + b"\n",
            0o644,
        )
    found |= {
        f"setup/{number:03}": (f"{command}\n".encode(), 0o640)
        for number, command in enumerate(settings.app.setup, 1)
    }
    found |= {
        name: (f"{command}\n".encode(), 0o640)
        for name, command in processes.commands(settings).items()
    }
    if settings.app.build:
        found["build.json"] = (_build(settings), 0o640)
    if settings.app.files:
        found |= _own_files(settings)
    if settings.app.dotenv:
        found["dotenv"] = (dotenv(given).encode(), 0o600)
    return found


def _build(settings: "Settings") -> bytes:
    """Return what assets.py needs to know of app.build."""
    app = settings.app
    # What a file of secrets may hold comes to a build only where that is asked for.
    given = variables(settings) if app.build_secrets else plain_variables(settings)
    told = {
        "commands": app.build,
        "shared": [entry.rstrip("/") for entry in app.shared if entry not in app.shared_files],
        "cache": [entry.rstrip("/") for entry in app.build_cache],
        "secrets": app.build_secrets,
        "env": {**({"FLASK_APP": settings.wsgi.app} if settings.wsgi.app else {}), **given},
    }
    return json.dumps(told, ensure_ascii=False, sort_keys=True).encode()


def _own_files(settings: "Settings") -> dict[str, tuple[bytes, int]]:
    """Return the files of app.files, as app_files.py finds them."""
    found, listed = {}, []
    for number, (target, name) in enumerate(sorted(settings.app.files.items())):
        path = local(settings.folder, name)
        if not path.is_file():
            raise SettingsError(f"app.files.{target}: there is no file {path}")
        data = path.read_bytes()
        if path.suffix == ".j2":
            data = render_file(path, settings).encode()
        found[f"files/{number}"] = (with_database(data, settings), 0o640)
        listed.append((target.rstrip("/"), str(number)))
    return {"files.json": (json.dumps(listed).encode(), 0o640), **found}


def files(settings: "Settings", facts: "Facts") -> bytes:
    """Return the files of a release's .deploy folder as a tar.

    The same settings give the same bytes.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, (data, mode) in contents(settings, facts).items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def preview(settings: "Settings", facts: "Facts") -> Plan:
    """The rendered files of a release against those of the one that serves.

    For a dry run alone, as a release is never edited.
    """

    def is_secret(name: str) -> bool:
        return name in ("env", "build.json") or name.startswith("files/")

    shown = {
        name: item
        for name, item in contents(settings, facts).items()
        if name != "dotenv" and not name.startswith("files/")
    }
    group = {"env": settings.app.name}
    folder = f"{settings.paths.current}/.deploy"
    return tuple(
        File(
            f"{folder}/{name}",
            Secret(data.decode("utf-8", "replace")) if is_secret(name) else data,
            f"root:{group.get(name, 'root')}",
            mode,
        )
        for name, (data, mode) in shown.items()
    )
