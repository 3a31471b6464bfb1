"""The application at Heroku, with the settings of [heroku]; no server is needed.

What speaks HTTP is imported where it is used: `fab --list` does not wait for it.
"""

from invoke.context import Context

from decant.commands.decorators import local_task
from decant.errors import DeployError
from decant.operations.platforms.chosen import settings_for
from decant.output import Output

JSON = {"json": "print one JSON document on standard output"}


@local_task
def init(c: Context) -> None:
    """Make the app there, its add-ons and its domains, as far as they are missing."""
    from decant.operations.platforms import heroku_app

    heroku_app.init(settings_for("heroku"), _output(), _is_dry(c))


@local_task(help=JSON)
def deploy(c: Context, json: bool = False) -> None:
    """Set the variables, build this source, release it, and ask it for health.

    Where health fails, what served before is released again.
    """
    from decant.operations.platforms import heroku

    settings, output = settings_for("heroku"), _output(json)
    if _is_dry(c):
        return heroku.preview(settings, output)
    done = heroku.deploy(settings, output)
    if json:
        output.document(done.document())


@local_task(help=JSON)
def env(c: Context, json: bool = False) -> None:
    """Set the variables that differ, with one release for all; none is removed."""
    from decant.operations.platforms import heroku

    output = _output(json)
    done = heroku.env(settings_for("heroku"), output, _is_dry(c))
    if json:
        return output.document(done.document())
    word = "would set" if _is_dry(c) else "set"
    names = ", ".join(done.variables)
    output.line(f"{word}: {names} ({done.release})" if names else "nothing differs")


@local_task(help=JSON)
def status(c: Context, json: bool = False) -> None:
    """Show what serves there, its processes, and its newest releases."""
    from decant.operations.platforms import heroku_app

    output = _output(json)
    found = heroku_app.status(settings_for("heroku"))
    if json:
        return output.document(found)
    output.line(
        f"{found['app']}: {found['url']}, {'healthy' if found['healthy'] else found['why']}"
    )
    for name, count in sorted(found["processes"].items()):
        output.line(f"{name}: {count}")
    rows = [
        (
            each["release"],
            each["status"],
            each["what"],
            each["time"],
            "current" if each["current"] else "",
        )
        for each in found["releases"]
    ]
    output.table(("release", "status", "what", "when", ""), rows)


@local_task(help={"lines": "how many", "follow": "go on until Ctrl-C"})
def logs(c: Context, lines: int = 100, follow: bool = False) -> None:
    """Show what the app logged."""
    from decant.operations.platforms import heroku_app

    for line in heroku_app.logs(settings_for("heroku"), lines, follow):
        print(line, flush=True)


@local_task(positional=["command"], help={"command": "a shell command, such as 'flask routes'"})
def run(c: Context, command: str) -> None:
    """Run a command in a process of its own there, and show what it prints."""
    from decant.operations.platforms import heroku_app

    if _is_dry(c):
        return _output().line(f"would run: {command}")
    for line in heroku_app.run(settings_for("heroku"), command):
        print(line, flush=True)


@local_task(help={"to": "a release such as v42; default: the one before", **JSON})
def rollback(c: Context, to: str = "", json: bool = False) -> None:
    """Release an older release again: its code and its variables, not the database."""
    from decant.operations.platforms import heroku

    output = _output(json)
    if _is_dry(c):
        return output.line(f"would release {to or 'what served before'} again")
    done = heroku.rollback(settings_for("heroku"), output, to)
    if json:
        output.document(done.document())


@local_task(positional=["state"], help={"state": "on or off"})
def maintenance(c: Context, state: str) -> None:
    """Put up Heroku's maintenance page, or take it away."""
    from decant.operations.platforms import heroku_app

    if state not in ("on", "off"):
        raise DeployError(f"heroku.maintenance {state}: should be on or off")
    if _is_dry(c):
        return _output().line(f"would be {state}")
    heroku_app.maintain(settings_for("heroku"), state == "on")
    _output().step("changed", f"maintenance page: {state}")


@local_task(help={"yes": "the app's name, which is asked for otherwise"})
def destroy(c: Context, yes: str = "") -> None:
    """Take the app away, with its add-ons and their data."""
    from decant.operations.platforms import heroku_app

    if _is_dry(c):
        return _output().line("would take the app away")
    heroku_app.destroy(settings_for("heroku"), _output(), yes)


@local_task
def push(c: Context) -> None:
    """Push the wanted commit to the app's git repository, which builds it: the way of the guides.

    Nothing is rendered: what the commit has is what is built.
    """
    from decant.operations.platforms import heroku_app

    heroku_app.push(settings_for("heroku"), _output(), _is_dry(c))


def _is_dry(c: Context) -> bool:
    return bool(c.config.run.dry)


def _output(json: bool = False) -> Output:
    import sys

    output = Output("heroku")
    if json:
        output.stream = sys.stderr
    return output
