"""The operating system below the application."""

import time
from dataclasses import asdict

from decant.commands.decorators import task
from decant.errors import ConnectError, DeployError
from decant.operations import drift
from decant.operations.release.status import missing
from decant.plans import app as app_plan
from decant.plans import harden as harden_plans
from decant.plans import preflight
from decant.plans import system as plans
from decant.plans.provision import provision
from decant.remote.connection import ServerConnection
from decant.remote.host import Host
from decant.steps import Run

# What uses a library that was upgraded under it, as needrestart sees it; it comes with
# system.harden.
OLD_CODE = (
    "command -v needrestart >/dev/null && needrestart -b -r l 2>/dev/null | sed -n"
    " 's/^NEEDRESTART-SVC: //p; s/^NEEDRESTART-KSTA: [23]/the kernel/p' || true"
)


@task
def setup(c: ServerConnection) -> None:
    """Install packages, make the account, close the firewall, harden what hosts.toml asks for."""
    host = Host(c)
    for notice in preflight.check(host.settings, host.facts, host.logs_in_by_password):
        host.output.line(notice)
    host.require_disk_space()
    with host.lock("system.setup"):
        host.changes(
            (*app_plan.write_manifest(host.settings), *plans.setup(host.settings, host.facts))
        )


@task
def packages(c: ServerConnection) -> None:
    """Install the Debian packages of the chosen stack."""
    host = Host(c)
    host.require_disk_space()
    with host.lock("system.packages"):
        host.changes(plans.packages(host.settings, host.facts))


@task
def user(c: ServerConnection) -> None:
    """Make the application's own account."""
    host = Host(c)
    preflight.refuse_conflicts(host.settings, host.facts)
    with host.lock("system.user"):
        host.changes(
            (
                *app_plan.write_manifest(host.settings),
                *plans.user(host.settings),
                *plans.admins(host.settings),
            )
        )


@task
def firewall(c: ServerConnection) -> None:
    """Let in ssh, the proxy and system.allow, and nothing else."""
    host = Host(c)
    with host.lock("system.firewall"):
        found = plans.foreign_listeners(host.settings, host.facts)
        if found and host.settings.system.firewall == "auto":
            raise DeployError(
                f"{host.name}: {', '.join(found)} listen publicly and would be cut off; add them to"
                " system.allow, or set system.firewall = true"
            )
        host.changes(plans.firewall(host.settings, host.facts))


@task
def harden(c: ServerConnection) -> None:
    """Harden sshd and the kernel, ban addresses that guess passwords, and switch on automatic
    security upgrades, as system.harden says.
    """
    host = Host(c)
    if not any(value for _, value in host.settings.system.harden):
        raise DeployError(
            "system.harden is false; set it to true, or to { ssh = true, upgrades = true, sysctl ="
            " true, bans = true }"
        )
    preflight.refuse_lockout(host.settings, host.logs_in_by_password)
    with host.lock("system.harden"):
        host.changes(harden_plans.plan(host.settings, host.facts))


@task
def upgrade(c: ServerConnection) -> None:
    """Install the distribution's newest versions of all packages.

    Configuration files stay as they are.
    """
    host = Host(c)
    apt = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y")
    with host.lock("system.upgrade"):
        host.changes(
            (
                Run((*apt, "update"), label="package lists"),
                Run(
                    (
                        *apt,
                        "-o",
                        "DPkg::Lock::Timeout=300",
                        "-o",
                        "Dpkg::Options::=--force-confold",
                        "upgrade",
                    ),
                    label="upgrade of all packages",
                ),
            )
        )


@task(help={"wait": "seconds to wait for the server to come back"})
def reboot(c: ServerConnection, wait: int = 300) -> None:
    """Reboot the server and wait until it is back."""
    host = Host(c)
    before = host.facts.boot_id
    with host.lock("system.reboot"):
        host.changes(
            (Run(("systemd-run", "--on-active=2", "systemctl", "reboot"), label="reboot"),)
        )
    if host.dry:
        return
    c.close()
    began = time.monotonic()
    while time.monotonic() < began + wait:
        time.sleep(2)
        try:
            host.forget_facts()
            if host.facts.boot_id != before:
                return host.output.line(f"is back after {time.monotonic() - began:.0f} s")
        except ConnectError:
            continue
    raise DeployError(f"{host.name}: did not come back within {wait} s; look at its console")


@task(name="drift", help={"json": "print one JSON document on standard output"})
def show_drift(c: ServerConnection, json: bool = False) -> None:
    """List what is not on the server as deploy left it, and why."""
    host = Host(c, json)
    report = host.apply((), compare=provision(host.settings, host.facts))
    found = drift.found(host, report)
    gone = missing(host) if host.facts.current else ""
    if gone:
        what = f"release {host.facts.current}: {gone}"
        found = (drift.Difference(what, drift.Why.MISSING), *found)
    if json:
        host.output.document({"host": host.name, "drift": [asdict(each) for each in found]})
    elif not found:
        host.output.line("everything is as deploy left it")
    else:
        host.output.table(("what", host.name), [(each.what, each.why) for each in found])


@task
def info(c: ServerConnection) -> None:
    """Show what this tool knows about the server."""
    host = Host(c)
    f = host.facts
    rows = [
        ("system", f"{f.os_name}, Linux {f.kernel}, {f.machine}, systemd {f.systemd}"),
        ("size", f"{f.cores} cores, {f.memory_mb} MB memory, {f.free_mb} MB free disk"),
        ("login", f"{f.user}, sudo: {f.sudo}, ssh port {', '.join(map(str, f.ssh_ports))}"),
        ("python", f.python or "none"),
        ("applications", ", ".join(item["name"] for item in f.manifests) or "none"),
        ("listens", ", ".join(sorted(set(f.listeners)))),
        (
            "runs old code",
            host.read("sh", "-c", OLD_CODE).replace("\n", ", ") or "nothing, as far as is known",
        ),
    ]
    host.output.table(("", host.name), rows)
