"""The application: its releases, its variables, and commands in its environment."""

import getpass

from decant.commands.decorators import app_task, task
from decant.config.variables import NAME, RESERVED_VARIABLES, dialect, parse, without
from decant.errors import DeployError
from decant.operations import processes, service
from decant.operations.release.prepare import new_id, prepare, release_lock
from decant.output import asking
from decant.plans import app as plans
from decant.plans import preflight
from decant.quoting import Secret
from decant.remote.connection import ServerConnection
from decant.remote.host import Host
from decant.steps import File, Transaction


@task
def pull(c: ServerConnection) -> None:
    """Make the newest version ready on the server (code, environment, import), without switching to
    it.
    """
    host = Host(c)
    _need_release(host)
    with release_lock(host, "app.pull"):
        if host.dry:
            return host.output.line("would fetch, export and build the environment")
        prepared, _ = prepare(host, new_id(host))
    host.output.line(
        f"release {prepared.release} is"
        f" {'already current' if prepared.current else 'ready: fab update switches to it'}:"
        f" {prepared.label}"
    )


@app_task(help={"reveal": "show the values, too"})
def env(c: ServerConnection, reveal: bool = False) -> None:
    """Show the variables of the current release, and where each comes from."""
    host = Host(c)
    _need_release(host)
    rows: list[tuple[str, str, str]] = []
    for origin, path in (
        ("release", f"{host.paths.current}/.deploy/env"),
        ("shared/secrets.env", host.paths.secrets),
    ):
        rows += [
            (name, value if reveal else "[hidden: --reveal shows it]", origin)
            for name, value in parse(host.text(path)).items()
        ]
    host.output.table(("variable", "value", "from"), rows)


@app_task(
    positional=["assignment"],
    help={
        "assignment": (
            "NAME=value; NAME alone asks for the value, so that it stays out of the shell's history"
        )
    },
)
def env_set(c: ServerConnection, assignment: str) -> None:
    """Set a variable in shared/secrets.env and restart the application behind its open socket."""
    host = Host(c)
    _need_release(host)
    name, equals, value = assignment.partition("=")
    if not NAME.fullmatch(name):
        raise DeployError(
            f"{name!r} is no variable name: letters, digits and _ only; write NAME=value"
        )
    if name in RESERVED_VARIABLES:
        raise DeployError(f"{name} belongs to the process itself; choose another name")
    if host.settings.can_dump and name == host.settings.db.variable:
        other = (
            f"; for another password, edit {host.paths.secrets} and run db.create"
            if host.settings.has_database_server
            else ""
        )
        raise DeployError(
            f'{name} is set by db.kind = "{host.settings.db.kind}"; change [db] in hosts.toml'
            f" instead{other}"
        )
    if not equals:
        with asking:
            value = getpass.getpass(
                f"{name}: " if host.output.single_host else f"{name} on {host.name}: "
            )
    with host.lock("app.env-set"):
        text = without(host.text(host.paths.secrets), name) + dialect({name: value})
        restart = ("sh", f"{host.paths.procedures}/restart.sh", host.paths.root, "all")
        file = File(host.paths.secrets, Secret(text), f"root:{host.settings.app.name}", 0o640)
        host.changes(
            (
                *plans.server_scripts(host.settings),
                Transaction((file,), validate=restart, undo=restart),
            )
        )


@app_task
def start(c: ServerConnection) -> None:
    """Open the socket and start the application."""
    host = Host(c)
    _need_release(host)
    service.start(service.need_manager(host), "app.start")


@app_task
def stop(c: ServerConnection) -> None:
    """Stop the application and close its socket: visitors get an error until app.start.

    The processes beside it go on.
    """
    host = Host(c)
    _need_release(host)
    service.stop(service.need_manager(host), "app.stop")


@app_task(help={"process": "only this one of [processes]"})
def restart(c: ServerConnection, process: str = "") -> None:
    """Restart the application behind its open socket, and the processes beside it."""
    host = Host(c)
    _need_release(host)
    processes.restart(host, process, "app.restart")


@app_task(
    help={
        "process": "one of [processes] or [schedules]; default: the service",
        "lines": "how many",
        "follow": "go on until Ctrl-C",
    }
)
def logs(c: ServerConnection, process: str = "", lines: int = 100, follow: bool = False) -> None:
    """Show what the application logged."""
    processes.logs(Host(c), process, lines, follow)


@app_task(
    help={
        "run": "run this one now, and wait for it",
        "json": "print one JSON document on standard output",
    }
)
def schedules(c: ServerConnection, run: str = "", json: bool = False) -> None:
    """List what is due at certain times: when it runs next, when it ran, and how that ended."""
    host = Host(c, json)
    _need_release(host)
    if run:
        code = processes.run_now(host, run)
        if code:
            raise DeployError(f"{host.name}: {run} ended with exit code {code}", code=code)
        return
    found = processes.schedules(host)
    if json:
        return host.output.document(
            found if host.output.single_host else {"host": host.name, "schedules": found}
        )
    rows = [
        (
            each["schedule"],
            each["when"],
            each["next"] or "",
            "runs now" if each["running"] else each["last"] or "never",
            "" if each["exit_code"] is None else str(each["exit_code"]),
        )
        for each in found
    ]
    host.output.table(("schedule", "when", "next", "last", "exit code"), rows)


@task(help={"json": "print one JSON document on standard output"})
def releases(c: ServerConnection, json: bool = False) -> None:
    """List the releases on the server."""
    host = Host(c, json)
    facts = host.facts
    if json:
        found = [
            {
                "release": item.name,
                "state": item.state,
                "commit": item.commit,
                "current": item.name == facts.current,
            }
            for item in facts.releases
        ]
        return host.output.document(
            found if host.output.single_host else {"host": host.name, "releases": found}
        )
    rows = [
        (item.name, item.state, item.commit[:10], "current" if item.name == facts.current else "")
        for item in facts.releases
    ]
    host.output.table(("release", "state", "commit", ""), rows)


@app_task(positional=["command"], help={"command": "a shell command, such as 'flask routes'"})
def run(c: ServerConnection, command: str) -> None:
    """Run a command in the current release, with its variables and environment, as the
    application's user.
    """
    host = Host(c)
    _need_release(host)
    code = host.interact(*plans.in_current(host.settings, "sh", "-c", command))
    if code:
        raise DeployError(f"{host.name}: the command ended with exit code {code}", code=code)


@app_task
def shell(c: ServerConnection) -> None:
    """Open flask's interactive shell in the current release."""
    host = Host(c)
    _need_release(host)
    host.interact(*plans.in_current(host.settings, "flask", "shell"), shell_only=True)


def _need_release(host: Host) -> None:
    if not host.facts.current:
        raise DeployError(
            f"{host.name}: nothing is deployed here yet; run: fab -H {host.name} deploy"
        )
    preflight.refuse_older(host.settings, host.facts)
