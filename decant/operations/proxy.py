"""What nginx.* and apache.* do alike: the proxy itself, and the application's site in it."""

from decant.errors import DeployError
from decant.plans import app, preflight, stack, system
from decant.remote.host import Host
from decant.steps import Handler, Run, Unit


def need(host: Host, kind: str) -> Host:
    """Return the host; raise DeployError where hosts.toml has another proxy."""
    chosen = host.settings.proxy.kind
    if chosen != kind:
        raise DeployError(f'proxy.kind is "{chosen}"; its tasks are {chosen}.*')
    return host


def install(host: Host, task: str) -> None:
    """Install the proxy, with room for the requests that wait while versions change."""
    plans = stack.proxy(host.settings)
    with host.lock(task):
        host.changes((*plans.install(host.settings, host.facts), Handler(plans.RELOAD)))


def site(host: Host, task: str) -> None:
    """Write the application's site and let the proxy read it."""
    preflight.refuse_conflicts(host.settings, host.facts)
    with host.lock(task):
        host.changes(
            (
                *app.server_scripts(host.settings),
                *system.firewall(host.settings, host.facts),
                *stack.site(host.settings, host.facts),
            )
        )


def remove(host: Host, task: str) -> None:
    """Take the application's site away."""
    with host.lock(task):
        host.changes(stack.proxy(host.settings).remove(host.settings))


def check(host: Host) -> None:
    """Let the proxy check its configuration, and show what it says."""
    host.output.text(host.read("sh", "-c", '"$@" 2>&1', "check", *stack.proxy(host.settings).CHECK))


def running(host: Host, wanted: bool) -> None:
    """Start or stop the proxy."""
    host.changes((Unit(stack.proxy(host.settings).UNIT, running=wanted),))


def again(host: Host, verb: str) -> None:
    """Check the configuration, and restart or reload the proxy."""
    plans = stack.proxy(host.settings)
    host.changes(
        (
            Run(plans.CHECK, label="check of the configuration"),
            Run(("systemctl", verb, plans.UNIT), label=f"{verb} of {plans.NAME}"),
        )
    )


def status(host: Host) -> None:
    """Show what systemd says of the proxy."""
    host.output.text(
        host.read(
            "sh",
            "-c",
            'systemctl --no-pager status "$1" || true',
            "status",
            stack.proxy(host.settings).UNIT,
        )
    )


def logs(host: Host, lines: int, follow: bool) -> None:
    """Show the access and the error log."""
    host.interact(
        "tail",
        "-n",
        str(lines),
        *(["-f"] if follow else []),
        *stack.proxy(host.settings).logs(host.settings),
    )
