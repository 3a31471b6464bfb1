"""A deploy to Heroku and what belongs to it: each ends in a value, which the tasks print."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from decant.errors import DeployError, SettingsError
from decant.output import Output
from decant.platforms import bundle as bundles
from decant.platforms import health, heroku
from decant.platforms import settings as platform_settings
from decant.platforms.bundle import Bundle
from decant.platforms.heroku import App

if TYPE_CHECKING:
    from decant.config.models import Settings


@dataclass(frozen=True)
class Deployed:
    """How a deploy ended.

    `result`: good or unchanged; `release` as v12; `variables`: the names that were set.
    """

    app: str
    result: str
    release: str
    commit: str
    url: str
    variables: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {"platform": "heroku", **asdict(self)}


def made(settings: "Settings") -> Bundle:
    """Return what is sent; raise SettingsError with everything that Heroku would refuse."""
    source = bundles.make(settings)
    found = source.beside(heroku.files(settings, source))
    problems = [*heroku.problems(settings, found)]
    if problems:
        raise SettingsError("\n".join(problems))
    return found


def deploy(settings: "Settings", output: Output) -> Deployed:
    """Set the variables, build, wait for the release, and ask it for health.

    Raises DeployError where a build, a release phase or the health fails; what served before serves
    then.
    """
    bundle = made(settings)
    app, about = app_of(settings)
    _say_ignored(settings, output)
    changes = platform_settings.difference(platform_settings.variables(settings), app.variables())
    before = served = current(app)
    if changes:
        app.set_variables(changes)
        output.step("changed", f"config vars: {', '.join(sorted(changes))}")
        before = _after_variables(app, before, output)
    version = version_of(bundle)
    url = str(about.get("web_url") or "").rstrip("/")
    if before and _is_there(app, before, version):
        output.line(f"v{before['version']} has this source already: {bundle.label}")
        _scale(settings, app, output)
        result = "good" if changes else "unchanged"
        return Deployed(
            app.name, result, f"v{before['version']}", bundle.commit, url, tuple(sorted(changes))
        )
    released = _build(app, bundle, version, output)
    _scale(settings, app, output)
    if about.get("maintenance"):
        output.line("the maintenance page is up: the application was not asked for health")
    elif wrong := health.problem(settings, url):
        raise DeployError(_put_back(app, served, wrong))
    output.line(f"v{released['version']} serves: {url}")
    return Deployed(
        app.name, "good", f"v{released['version']}", bundle.commit, url, tuple(sorted(changes))
    )


def preview(settings: "Settings", output: Output) -> None:
    """Show what a deploy would send, set and call; only read-only calls are made."""
    bundle = made(settings)
    for name, whose in bundle.report():
        output.line(f"{name}: {whose}")
        if whose == "rendered":
            output.text(bundle.text(name))
    _say_ignored(settings, output)
    app, _ = app_of(settings)
    changes = platform_settings.difference(platform_settings.variables(settings), app.variables())
    for name in sorted(changes):
        output.line(f"would set {name} (secret)")
    before = current(app)
    if before and _is_there(app, before, version_of(bundle)):
        return output.line(f"v{before['version']} has this source already: {bundle.label}")
    output.line(
        f"would send {len(bundle.entries)} files of {bundle.label} (POST /sources, PUT), build"
        f" (POST {app.path}/builds), wait for its release, and ask {settings.app.health.path}"
    )


def version_of(bundle: Bundle) -> str:
    """Return by what a build is known: its commit, and the digest of what was sent."""
    return f"{bundle.commit[:10]}-{bundle.digest[:12]}"


# --- its parts


def app_of(settings: "Settings") -> tuple[App, dict[str, Any]]:
    """Return the app, and what Heroku tells of it; raise DeployError where there is none."""
    app = App(heroku.api(), heroku.name_of(settings))
    about = app.about()
    if about is None:
        raise DeployError(f"heroku: there is no app {app.name} yet; run: fab heroku.init")
    return app, about


def current(app: App) -> dict[str, Any] | None:
    """Return the release that serves, or None before the first."""
    releases = app.releases()
    good = [each for each in releases if each["status"] == "succeeded"]
    return next((each for each in good if each.get("current")), next(iter(good), None))


def _is_there(app: App, release: Mapping[str, Any], version: str) -> bool:
    """Tell whether a release is of a build that had the same source."""
    slug = (release.get("slug") or {}).get("id")
    return bool(slug) and any(
        (build.get("slug") or {}).get("id") == slug
        and (build.get("source_blob") or {}).get("version") == version
        for build in app.builds()
    )


def _after_variables(
    app: App, before: dict[str, Any] | None, output: Output
) -> dict[str, Any] | None:
    """Wait for the release that new variables make; return what serves then."""
    newest = next(iter(app.releases(1)), None)
    if newest is None or (before and newest["id"] == before["id"]):
        return before
    released = app.released(str(newest["id"]))
    if released["status"] != "succeeded":
        _tell(released, output)
        raise DeployError(
            f"heroku: v{released['version']}, with the new variables, failed in its release phase;"
            " what served before serves on. Mend it and run the same command again"
        )
    return released


def _build(app: App, bundle: Bundle, version: str, output: Output) -> dict[str, Any]:
    """Build and release; return the release. Raises DeployError where one of them fails."""
    build = app.build(bundle.tar_gz(), version)
    output.line(f"build of {bundle.label}")
    for line in heroku.told(build.get("output_stream_url")):
        output.line(f"  | {line}")
    build = app.built(build)
    if build["status"] != "succeeded" or not build.get("release"):
        raise DeployError(
            f"heroku: the build failed ({build['status']}); what served before serves on. Its last"
            f" lines are above; mend it and run the same command again"
        )
    released = app.released(str(build["release"]["id"]))
    _tell(released, output)
    if released["status"] != "succeeded":
        raise DeployError(
            f"heroku: the release phase of v{released['version']} failed ({released['status']});"
            " what served before serves on. Mend it and run the same command again"
        )
    return released


def _tell(release: Mapping[str, Any], output: Output) -> None:
    for line in heroku.told(release.get("output_stream_url")):
        output.line(f"  | {line}")


def _scale(settings: "Settings", app: App, output: Output) -> None:
    """Have as many of each process as hosts.toml says; `web` is scaled by its owner."""
    there = app.formation()
    wanted = {name: process.count for name, process in settings.processes.items()}
    changes = {name: count for name, count in wanted.items() if there.get(name) != count}
    if changes:
        app.scale(changes)
        told = ", ".join(f"{name}: {count}" for name, count in sorted(changes.items()))
        output.step("changed", f"processes: {told}")


def _put_back(app: App, before: Mapping[str, Any] | None, wrong: str) -> str:
    """Release what served before again; return what to tell."""
    if not before or not before.get("slug"):  # variables alone make a release, too
        return f"heroku: {wrong}; nothing served before. See: fab heroku.logs"
    again = app.release_again(str(before["id"]))
    if again["status"] != "succeeded":
        return f"heroku: {wrong}; v{before['version']} could not be released again: fab heroku.logs"
    return (
        f"heroku: {wrong}; v{before['version']} was put back as v{again['version']}. The database"
        " stays as the release phase left it. See: fab heroku.logs"
    )


def _say_ignored(settings: "Settings", output: Output) -> None:
    keys = [
        *platform_settings.ignored(settings),
        *(f"schedules.{name}" for name in settings.schedules),
    ]
    if keys:
        output.line(f"{', '.join(keys)}: Heroku has no such setting (docs/platforms.md)")


def env(settings: "Settings", output: Output, dry: bool) -> Deployed:
    """Set the variables alone: nothing where none differs, else one release for all."""
    app, about = app_of(settings)
    changes = platform_settings.difference(platform_settings.variables(settings), app.variables())
    names = tuple(sorted(changes))
    before = current(app)
    if changes and not dry:
        app.set_variables(changes)
        before = _after_variables(app, before, output)
    version = f"v{before['version']}" if before else ""
    url = str(about.get("web_url") or "").rstrip("/")
    return Deployed(app.name, "good" if changes else "unchanged", version, "", url, names)


def rollback(settings: "Settings", output: Output, to: str = "") -> Deployed:
    """Release again what an older release was: code and config vars, not the database."""
    app, about = app_of(settings)
    releases = [each for each in app.releases(50) if each["status"] == "succeeded"]
    serves = current(app)
    if to:
        chosen = next((each for each in releases if f"v{each['version']}" == to), None)
    else:
        # What a rollback has left is not gone back to.
        back = re.match(r"Rollback to v(\d+)", str((serves or {}).get("description")))
        newest = int(back[1]) if back else (serves or {}).get("version", 0)
        older = (each for each in releases if each["version"] < newest)
        slug = ((serves or {}).get("slug") or {}).get("id")
        chosen = next(
            (each for each in older if (each.get("slug") or {}).get("id") not in (None, slug)), None
        )
    if not chosen:
        known = ", ".join(f"v{each['version']}" for each in releases)
        raise DeployError(f"heroku: there is no release {to or 'before the current one'}: {known}")
    made = app.release_again(str(chosen["id"]))
    if made["status"] != "succeeded":
        raise DeployError(
            f"heroku: v{made['version']} failed in its release phase; run: fab heroku.logs"
        )
    output.line(
        f"v{made['version']} is v{chosen['version']} again, code and config vars; the database is"
        " as it was"
    )
    url = str(about.get("web_url") or "").rstrip("/")
    return Deployed(app.name, "good", f"v{made['version']}", "", url)
