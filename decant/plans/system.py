"""The operating system below the application: packages, account, firewall, hardening."""

import re
from typing import TYPE_CHECKING

from decant.errors import DeployError, SettingsError
from decant.paths import local
from decant.plans import backup, db, harden, installed, metadata, python, stack
from decant.steps import (
    Directory,
    File,
    Firewall,
    Packages,
    PeerRules,
    Plan,
    Run,
    Step,
    Transaction,
    User,
)

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

# Keys that somebody put there stay.
ADD_KEY = 'umask 077 && printf "%s\\n" "$2" >>"$1" && chown "$3:$3" "$1"'

# ufw as its files say, after they were put back.
UFW_BACK = (
    "if grep -qx ENABLED=yes /etc/ufw/ufw.conf; then ufw reload; else ufw --force disable; fi"
)

# What listens for answers to the machine itself: DHCP, time, names.
CLIENTS = frozenset({"68/udp", "123/udp", "323/udp", "546/udp", "5353/udp", "5355/udp"})


def setup(settings: "Settings", facts: "Facts") -> Plan:
    """Everything of this module that hosts.toml asks for."""
    return (
        *packages(settings, facts),
        *timezone(settings),
        *user(settings),
        *metadata.rule(settings),
        *metadata.closed(settings),
        *admins(settings),
        *firewall(settings, facts),
        *harden.plan(settings, facts),
    )


def packages(settings: "Settings", facts: "Facts") -> Plan:
    """Every Debian package of the chosen stack, in one step."""
    names = [
        *python.packages(settings, facts),
        *stack.packages(settings),
        *db.packages(settings),
        *backup.packages(settings),
        "ca-certificates",
        *settings.system.packages,
    ]
    names += [*_for_source(settings), *_metadata(settings)]
    names += [
        name
        for step in firewall(settings, facts)
        if isinstance(step, Packages)
        for name in step.names
    ]
    brought = [package for package in installed.PROGRAMS if package in names]
    first = [
        step
        for package in brought
        for step in (*installed.mark(package), *installed.sandbox(package, settings, facts))
    ]
    return (*first, Packages(tuple(dict.fromkeys(names))))


def for_environment(settings: "Settings", facts: "Facts") -> Plan:
    """The packages without which no environment can be made.

    The others are installed while that is done.
    """
    return (
        Packages(
            (
                *python.packages(settings, facts),
                *_for_source(settings),
                *_metadata(settings),
                "ca-certificates",
            )
        ),
    )


def _metadata(settings: "Settings") -> tuple[str, ...]:
    return metadata.PACKAGES if settings.is_app and not settings.system.metadata else ()


def _for_source(settings: "Settings") -> list[str]:
    return ["git" if settings.app.is_git else "rsync"]


def user(settings: "Settings") -> Plan:
    """The application's own account, and the one that builds its environments, both without a
    login.
    """
    paths = settings.paths
    return (User(settings.app.name, paths.root), User(paths.builder, f"{paths.build}/home"))


def timezone(settings: "Settings") -> Plan:
    """The server's time zone."""
    zone = settings.system.timezone
    if not zone:
        return ()
    return (
        Packages(("tzdata",)),
        Run(
            ("timedatectl", "set-timezone", zone),
            unless=(
                "sh",
                "-c",
                'test "$(readlink -f /etc/localtime)" = "/usr/share/zoneinfo/$1"',
                "sh",
                zone,
            ),
            label=f"time zone {zone}",
        ),
    )


def admins(settings: "Settings") -> Plan:
    """Accounts with sudo and a key, for people."""
    steps: list[Step] = []
    for name, key_file in settings.system.admins.items():
        path = local(settings.folder, key_file)
        if not path.is_file():
            raise SettingsError(f"system.admins.{name}: there is no file {path}")
        keys = [
            line.strip()
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.strip() and not line.startswith("#")
        ]
        if not keys or not all(
            re.match(r"(ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/=]+", key) for key in keys
        ):
            raise SettingsError(
                f"system.admins.{name}: {path} is no public key; name the .pub file"
            )
        folder, sudoers = f"/home/{name}/.ssh", f"/etc/sudoers.d/90-decant-{name}"
        steps += [
            Packages(("sudo",)),
            Run(
                ("useradd", "--create-home", "--shell", "/bin/bash", name),
                unless=("getent", "passwd", name),
                label=f"admin {name}",
            ),
            Directory(folder, f"{name}:{name}", 0o700),
            *(
                Run(
                    ("sh", "-c", ADD_KEY, "add", f"{folder}/authorized_keys", key, name),
                    ("grep", "-qxF", key, f"{folder}/authorized_keys"),
                    f"key of {name}",
                )
                for key in keys
            ),
            Transaction(
                (File(sudoers, f"{name} ALL=(ALL) NOPASSWD: ALL\n", mode=0o440),),
                validate=("visudo", "-c", "-q"),
                label=f"sudo of {name}, and ours",
                guarded=True,
            ),
        ]
    return tuple(steps)


def ports(settings: "Settings", facts: "Facts") -> tuple[str, ...]:
    """What the firewall lets in.

    The ports that sshd really uses, the proxy's, and what hosts.toml adds.
    """
    return tuple(
        dict.fromkeys(
            (
                *(f"{port}/tcp" for port in facts.ssh_ports),
                *stack.ports(settings),
                *settings.system.allow,
            )
        )
    )


def foreign_listeners(settings: "Settings", facts: "Facts") -> tuple[str, ...]:
    """What listens publicly on the server and is neither ssh nor ours.

    A firewall would cut it off.
    """
    known = {
        *ports(settings, facts),
        *CLIENTS,
        *(f"{port}/tcp" for _, port in stack.reachable(settings)),
    }
    known |= {
        str(port)
        for manifest in facts.manifests
        for key in ("ports", "private")
        for port in manifest.get(key, ())
    }
    if settings.is_db and settings.has_database_server:
        known.add(f"{db.PORTS[settings.db.kind]}/tcp")  # also where no other host uses it any more
    found = []
    for listener in facts.listeners:
        address, _, rest = listener.rpartition(":")
        if (
            rest not in known
            and not address.startswith(("127.", "[::1]", "[::ffff:127."))
            and "%lo" not in address
        ):
            found.append(rest)
    return tuple(dict.fromkeys(found))


def firewall(settings: "Settings", facts: "Facts") -> Plan:
    """Ufw with our ports; with "auto" not where a stranger listens, whom it would cut off.

    Raises DeployError for such a server where a port is for the application's other hosts alone.
    """
    wanted, private = settings.system.firewall, stack.reachable(settings)
    cut_off = foreign_listeners(settings, facts) if wanted == "auto" else ()
    if cut_off and private:
        raise DeployError(
            "system.firewall: something else than ssh and us listens publicly on this server"
            f" ({', '.join(cut_off)}), so that no firewall was put up, and without it everybody"
            " could reach what is for the application's other hosts alone: add these ports to"
            " system.allow, or cut them off with system.firewall = true"
        )
    if wanted is False or cut_off:
        return (PeerRules(private),)
    rules = Transaction(
        (PeerRules(private), Firewall(ports(settings, facts))),
        validate=("true",),
        undo=("sh", "-c", UFW_BACK),
        label="the firewall lets us in",
        guarded=True,
    )
    return (Packages(("ufw",)), rules)
