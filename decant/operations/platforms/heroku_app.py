"""An app at Heroku beside its deploys: it is made, looked at, and taken away."""

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from decant import git
from decant.config import source
from decant.errors import DeployError
from decant.operations.platforms.heroku import app_of, current
from decant.output import Output
from decant.platforms import health, heroku
from decant.platforms.heroku import App

if TYPE_CHECKING:
    from decant.config.models import Settings

ENDED = re.compile(r"Process exited with status (\d+)")  # in the log of a process


def init(settings: "Settings", output: Output, dry: bool) -> None:
    """Make the app, its add-ons and its domains, as far as they are not there."""
    own = settings.heroku
    app = App(heroku.api(), heroku.name_of(settings))
    about = app.about()
    if dry:
        return output.line(f"{'would make' if about is None else 'there is'} the app {app.name}")
    if about is None:
        app.make(own.region)
        output.step("changed", f"app {app.name} in {own.region}")
    there = app.addons()
    for addon in own.addons:
        if not any(plan == addon or plan.startswith(f"{addon}:") for plan in there):
            app.add(addon)
            output.step("changed", f"add-on {addon}")
    known = app.domains()
    for domain in (*settings.proxy.domains, *settings.proxy.redirect):
        target = known.get(domain) or app.add_domain(domain)
        if domain not in known:
            output.step("changed", f"domain {domain}: let its DNS lead to {target}")
    output.line(f"the app {app.name} is ready; run: fab heroku.deploy")


def status(settings: "Settings") -> dict[str, Any]:
    """Return what serves, whether it is well, its processes and its newest releases."""
    app, about = app_of(settings)
    serves = current(app)
    url = str(about.get("web_url") or "").rstrip("/")
    why = health.answer(settings, url) if serves else "nothing is released yet"
    return {
        "platform": "heroku",
        "app": app.name,
        "url": url,
        "healthy": not why,
        "why": why,
        "maintenance": bool(about.get("maintenance")),
        "processes": app.formation(),
        "releases": [
            {
                "release": f"v{each['version']}",
                "status": each["status"],
                "what": each.get("description", ""),
                "time": each["created_at"],
                "current": bool(serves and each["id"] == serves["id"]),
            }
            for each in app.releases(5)
        ],
    }


def logs(settings: "Settings", lines: int, follow: bool) -> Iterator[str]:
    """Yield the app's log."""
    app, _ = app_of(settings)
    yield from app.logs(lines, follow)


def run(settings: "Settings", command: str) -> Iterator[str]:
    """Run a command there, and yield what it logs; raise DeployError where it fails."""
    app, _ = app_of(settings)
    for line in app.logs(0, True, dyno=app.run(command)):
        yield line
        if ended := ENDED.search(line):
            if code := int(ended[1]):
                raise DeployError(f"heroku: the command ended with exit code {code}", code=code)
            return


def maintain(settings: "Settings", on: bool) -> None:
    """Put up the maintenance page, or take it away."""
    app, _ = app_of(settings)
    app.maintain(on)


def destroy(settings: "Settings", output: Output, name: str) -> None:
    """Take the app away, when its name was given or typed."""
    app, _ = app_of(settings)
    if not name:
        if not sys.stdin.isatty():
            raise DeployError(f"heroku.destroy: say which app: --yes {app.name}")
        name = input(f"this takes {app.name} away, with its add-ons and their data; its name: ")
    if name.strip() != app.name:
        raise DeployError(f"heroku.destroy: {name.strip()!r} is not {app.name}; nothing was done")
    app.destroy()
    output.step("changed", f"the app {app.name} is gone")


def push(settings: "Settings", output: Output, dry: bool) -> None:
    """Push a commit to the app's own repository, and wait for its release."""
    app, about = app_of(settings)
    sent = source.find(settings) if not settings.app.is_git else None
    if not sent or not sent.is_commit:
        raise DeployError(
            "heroku.push: pushes a commit of a local repository: set app.source to its folder, and"
            " app.ref to a branch, a tag or a commit"
        )
    if dry:
        return output.line(f"would push {sent.label} to {about['git_url']}")
    before = next(iter(app.releases(1)), None)
    git.push(sent.folder, str(about["git_url"]), sent.commit, "refs/heads/main", app.api.key)
    newest = next(iter(app.releases(1)), None)
    if newest is None or (before and newest["id"] == before["id"]):
        return output.line(f"nothing was released: {sent.label} is there already")
    released = app.released(str(newest["id"]))
    if released["status"] != "succeeded":
        raise DeployError(
            f"heroku: {sent.label} was pushed and built, and the release phase of"
            f" v{released['version']} failed; what served before serves on"
        )
    output.step("changed", f"v{released['version']}: {sent.label}")
