"""Throwaway Debian and Ubuntu servers on this machine, for rehearsals and for the tests.

A server is a booted systemd-nspawn container on its own overlay over a cached root made by
mmdebstrap. Everything here runs as root;
`call` is the door for everybody else and goes through sudo.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from decant.errors import LabError
from decant.lab import disks, network

STATE = Path("/var/lib/decant-lab")
# The hierarchies that nspawn uses, where there is no systemd to set them up otherwise, and how each
# is mounted.
CONTROL_GROUPS = {
    Path("/sys/fs/cgroup/systemd"): "cgroup -o none,name=systemd systemd",
    Path("/sys/fs/cgroup/unified"): "cgroup2 cgroup2",
}
SUITES = ("bookworm", "trixie", "noble")
UBUNTU = ("noble",)
UBUNTU_KEYS = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")
PACKAGES = "systemd,systemd-sysv,dbus,openssh-server,sudo,ca-certificates,iproute2,netbase"
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "iptables": "iptables",
    "ssh-keygen": "openssh-client",
}


def call(action: str, *words: str) -> Any:
    """Run one of this module's actions as root and return what it answers.

    Raises LabError where this machine cannot boot servers or there is neither root nor sudo.
    """
    if not Path("/etc/debian_version").exists():
        raise LabError(
            "lab: a lab server needs a Debian or Ubuntu machine with root or sudo; here, use a"
            " virtual machine and name it in hosts.toml"
        )
    if os.geteuid() == 0:
        return ACTIONS[action](*words)
    if not shutil.which("sudo"):
        raise LabError(
            "lab: booting a server needs root, and there is no sudo here; run this command as root"
        )
    command = ["sudo", sys.executable, "-m", "decant.lab.servers", action, *words]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise LabError(done.stdout.strip() or "lab: sudo refused; run this command as root")
    return json.loads(done.stdout)


def up(name: str, suite: str = "bookworm", layer: str = "", megabytes: int = 0) -> dict[str, Any]:
    """Boot a fresh server and return its address, key and host key fingerprint.

    `layer` is the name of a snapshot to start from instead of the empty base of the suite. A server
    of so many `megabytes` has a disk of its own, which can be full, and loses in a power cut what
    was not synced.
    """
    if suite not in SUITES:
        raise LabError(f"lab: unknown suite {suite!r}; one of {', '.join(SUITES)}")
    _need_tools()
    down(name)
    with _locked():
        lower = (
            [_base(suite)]
            if not layer
            else json.loads((STATE / "layers" / layer / "lower.json").read_text())
        )
        home = _home(name)
        (home / "root").mkdir(parents=True)
        if megabytes:
            disks.make(home, megabytes)
        for folder in ("upper", "work"):
            (disks.mount(home) / folder).mkdir()
        network.up()
        server = {
            "name": name,
            "suite": suite,
            "lower": lower,
            "address": _free_address(),
            "key": _key(),
            "user": "root",
        }
        save(server)
    _mount(server)
    _personalise(server)
    disks.sync(home)
    boot(name)
    return {**_load(name), "key": _key(), "private": Path(_key()).read_text()}


def down(name: str) -> None:
    """Take a server away, with everything on it; one that is not there is fine."""
    home = _home(name)
    if not home.exists():
        return
    if (home / "server.json").exists():
        _kill(name)
        _forget_groups(name)
    for folder in ("root", "disk"):
        subprocess.run(["umount", "--lazy", str(home / folder)], capture_output=True)
    shutil.rmtree(home)
    with _locked():
        if not any((STATE / "servers").iterdir()):
            network.down()


def boot(name: str) -> None:
    """Start a server that is off and wait until its sshd answers."""
    server, home = _load(name), _home(name)
    _mount(server)
    _launch(name)
    deadline = time.monotonic() + 60
    while not _answers(server["address"]):
        if not processes(name) or time.monotonic() > deadline:
            said = (home / "console.log").read_text(errors="replace").strip().splitlines()
            raise LabError(
                f"lab: {name} did not boot: {said[-1] if said else 'it printed nothing'}; its"
                f" console is in {home}/console.log"
            )
        time.sleep(0.1)


def power_cut(name: str) -> None:
    """Cut the power: every process of the server ends at once.

    A disk of its own keeps what was synced; any other stays as it is.
    """
    _kill(name)
    disks.lose_unsynced(_home(name))


def _kill(name: str) -> None:
    for pid in processes(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # The kernel takes its time to remove what a dead server had; until then it would still answer.
    subprocess.run(["ip", "link", "delete", _interface(name).name], capture_output=True)
    deadline = time.monotonic() + 20
    while processes(name):
        if time.monotonic() > deadline:
            raise LabError(f"lab: the processes of {name} do not end")
        time.sleep(0.05)


def shut_down(name: str) -> None:
    """Shut a server down in order, as its power button would."""
    pids = processes(name)
    if len(pids) > 2 and "systemd-nspawn" in "".join(words(pids[-2])[:1]):
        os.kill(pids[-1], signal.SIGRTMIN + 4)
    deadline = time.monotonic() + 40
    while processes(name) or _interface(name).exists():
        if time.monotonic() > deadline:
            return power_cut(name)
        time.sleep(0.1)


def snapshot(name: str, layer: str) -> None:
    """Shut a server down and keep its disk as a layer that other servers can start from."""
    server, home = _load(name), _home(name)
    shut_down(name)
    subprocess.run(["umount", str(home / "root")], check=True)
    target = STATE / "layers" / layer
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (home / "upper").rename(target / "upper")
    (target / "lower.json").write_text(json.dumps([str(target / "upper"), *server["lower"]]))
    down(name)


def forget(layer: str) -> None:
    """Remove a snapshot."""
    shutil.rmtree(STATE / "layers" / layer, ignore_errors=True)


def listing() -> list[dict[str, Any]]:
    """Return every server of this machine with whether it runs."""
    return [{**server, "running": bool(processes(server["name"]))} for server in _servers()]


def _servers() -> list[dict[str, Any]]:
    """Read what is known of every server; one that is taken down meanwhile is left out."""
    found = []
    for path in sorted((STATE / "servers").glob("*/server.json")):
        with contextlib.suppress(FileNotFoundError):
            found.append(json.loads(path.read_text()))
    return found


def _need_tools() -> None:
    missing = sorted(package for tool, package in TOOLS.items() if not shutil.which(tool))
    if missing:
        raise LabError(
            f"lab: missing on this machine: {' '.join(missing)}; run: apt-get install"
            f" {' '.join(missing)}"
        )


def _home(name: str) -> Path:
    if not name or not all(c.isalnum() or c == "-" for c in name) or len(name) > 40:
        raise LabError(f"lab: {name!r} is no name for a server; letters, digits and - only")
    return STATE / "servers" / name


def _load(name: str) -> dict[str, Any]:
    path = _home(name) / "server.json"
    if not path.exists():
        raise LabError(f"lab: there is no server {name!r}; fab lab.list shows them")
    server: dict[str, Any] = json.loads(path.read_text())
    return server


def save(server: dict[str, Any]) -> None:
    """Write what is known of a server, by rename: others list the servers at any time."""
    home = _home(server["name"])
    (home / "server.json.new").write_text(json.dumps(server, indent=1))
    (home / "server.json.new").rename(home / "server.json")


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    (STATE / "servers").mkdir(parents=True, exist_ok=True)
    with (STATE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _base(suite: str) -> str:
    """Make the suite's root once; it is made anew when what goes into it changes."""
    sources, packages = _apt_sources(suite), PACKAGES
    if suite in UBUNTU:
        packages += ",apt"  # which is not among those that it must have
    seed = hashlib.sha256(json.dumps([packages, sources]).encode()).hexdigest()[:12]
    base = STATE / "base" / f"{suite}-{seed}"
    if base.exists():
        return str(base)
    print(f"lab: making the base of {suite}, once (about 25 s)", file=sys.stderr)
    unfinished = base.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    if suite in UBUNTU and not UBUNTU_KEYS.exists():
        raise LabError(
            f"lab: {suite} is Ubuntu's, and this machine has no keys of its archive: install the"
            f" package ubuntu-keyring, which brings {UBUNTU_KEYS}"
        )
    done = subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--components={'main,universe' if suite in UBUNTU else 'main'}",
            f"--include={packages}",
            suite,
            str(unfinished),
            *sources,
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise LabError(
            f"lab: mmdebstrap could not make {suite}: {done.stderr.strip().splitlines()[-1:]}"
        )
    _copy_trust(unfinished)
    for path in unfinished.glob("etc/ssh/ssh_host_*"):
        path.unlink()
    (unfinished / "etc/machine-id").write_text("")
    unfinished.rename(base)
    return str(base)


def _apt_sources(suite: str) -> list[str]:
    """Return source lines for the suite at the repositories that this machine itself uses.

    None: mmdebstrap's own default.
    """
    own = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    codename = own.get("VERSION_CODENAME", "").strip('"')
    if own.get("ID") != "debian" or suite in UBUNTU:
        return []
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
    )
    found = dict.fromkeys(targets.stdout.splitlines())
    lines = []
    for line in found:
        uri, _, release = line.partition(" ")
        if release == codename or release.startswith(codename + "-"):
            lines.append(f"deb {uri} {release.replace(codename, suite, 1)} main")
    return lines


def _copy_trust(root: Path) -> None:
    """Give the root this machine's own certificates and package settings, so that it reaches what
    the machine reaches.
    """
    for path in Path("/usr/local/share/ca-certificates").glob("*.crt"):
        shutil.copy(path, root / "usr/local/share/ca-certificates")
    subprocess.run(["chroot", str(root), "update-ca-certificates"], capture_output=True, check=True)
    if Path("/etc/pip.conf").exists():
        shutil.copy("/etc/pip.conf", root / "etc/pip.conf")
    (root / "etc/uv").mkdir()
    (root / "etc/uv/uv.toml").write_text("system-certs = true\n")


def _free_address() -> str:
    subnet = network.network()
    taken = {server["address"] for server in _servers()}
    return next(str(host) for host in list(subnet.hosts())[9:] if str(host) not in taken)


def _key() -> str:
    path = STATE / "key"
    if not path.exists():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "decant-lab", "-f", str(path)],
            check=True,
        )
    return str(path)


def _mount(server: dict[str, Any]) -> None:
    home = _home(server["name"])
    if os.path.ismount(home / "root"):
        return
    own = disks.mount(home)
    options = f"lowerdir={':'.join(server['lower'])},upperdir={own}/upper,workdir={own}/work"
    subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, str(home / "root")], check=True
    )


def _personalise(server: dict[str, Any]) -> None:
    """Give the server its name, address, host keys and our key."""
    root = _home(server["name"]) / "root"
    subnet = network.network()
    (root / "etc/hostname").write_text(server["name"] + "\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {server['name']}\n")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    (root / "etc/systemd/network/10-lab.network").write_text(
        f"[Match]\nName=host0\n[Network]\nAddress={server['address']}/24\nGateway={subnet[1]}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    )
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (wants / "systemd-networkd.service").symlink_to(
            "/lib/systemd/system/systemd-networkd.service"
        )
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(f"{server['key']}.pub", root / "root/.ssh/authorized_keys")
    for path in root.glob("etc/ssh/ssh_host_*"):
        path.unlink()
    subprocess.run(["ssh-keygen", "-q", "-A", "-f", str(root)], check=True, capture_output=True)
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(root / "etc/ssh/ssh_host_ed25519_key.pub")],
        capture_output=True,
        text=True,
        check=True,
    )
    save({**server, "host_key": shown.stdout.split()[1]})


def _nspawn(name: str) -> list[str]:
    command = [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        "--register=no",
        f"--directory={_home(name)}/root",
        f"--machine={_machine(name)}",
        f"--hostname={name}",
    ]
    command += [
        f"--network-bridge={network.NAME}",
        "--resolv-conf=off",
        "--timezone=off",
        "--console=read-only",
        "--capability=CAP_NET_ADMIN",
    ]
    if not Path("/run/systemd/system").exists():
        # Without a systemd on this machine there is nobody to allot a scope, and nspawn's
        # propagation folder must be a mount.
        command.append("--keep-unit")
        propagation = Path("/run/systemd/nspawn")
        propagation.mkdir(parents=True, exist_ok=True)
        if not os.path.ismount(propagation):
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(propagation)], check=True)
    return command


def _machine(name: str) -> str:
    """Return what nspawn calls the server: short, as interfaces are named after it."""
    return f"lab-{_load(name)['address'].rpartition('.')[2]}"


def _interface(name: str) -> Path:
    return Path(f"/sys/class/net/vb-{_machine(name)}")


def _launch(name: str) -> None:
    """Start the server as a session of its own, which leaves its pid in a file."""
    home = _home(name)
    (home / "pid").unlink(missing_ok=True)
    # nspawn ends with 133 when its server reboots, and expects to be started again.
    loop = ["sh", "-c", 'while "$@"; [ $? = 133 ]; do :; done', "loop", *_nspawn(name)]
    command = [
        "sh",
        "-c",
        'echo $$ >"$0.new" && mv "$0.new" "$0"; exec "$@"',
        str(home / "pid"),
        *_apart(name),
        *loop,
    ]
    with (home / "console.log").open("ab") as log:
        subprocess.run(
            ["setsid", "--fork", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
        )
    while not (home / "pid").exists():
        time.sleep(0.01)


def _apart(name: str) -> list[str]:
    """Return the beginning of a command that runs in control groups of its own, where no systemd of
    this machine allots them.

    Without it all servers would be in the same groups, and each one's units would share those of
    the units of the same name on the others. nspawn makes its groups
    beside those of the first process that it sees: so that is one of the server's own.
    """
    if Path("/run/systemd/system").exists() or not any(
        (tree / "cgroup.procs").exists() for tree in CONTROL_GROUPS
    ):
        return []
    trees = [tree for tree in CONTROL_GROUPS if (tree / "cgroup.procs").exists()]
    join = (
        f'for tree in {" ".join(map(str, trees))}; do mkdir -p "$tree/$0" && echo $$'
        ' >"$tree/$0/cgroup.procs"; done; exec "$@"'
    )
    alone = ["unshare", "--mount", "--cgroup", "--pid", "--fork", "--kill-child", "--mount-proc"]
    mount = [f"umount {tree} && mount -t {CONTROL_GROUPS[tree]} {tree}" for tree in trees]
    return [
        "sh",
        "-c",
        join,
        f"decant-lab/{_machine(name)}",
        *alone,
        "sh",
        "-c",
        "; ".join([*mount, 'exec "$@"']),
        "mount",
    ]


def _forget_groups(name: str) -> None:
    """Remove the control groups of a server that is off."""
    for tree in CONTROL_GROUPS:
        group = tree / "decant-lab" / _machine(name)
        for folder in (
            *sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True),
            group,
        ):
            with contextlib.suppress(OSError):
                folder.rmdir()


def processes(name: str) -> list[int]:
    """Return the pids of what is around the server's nspawn, of nspawn, and of the server's pid 1,
    as far as they live.
    """
    try:
        pid = int((_home(name) / "pid").read_text())
    except FileNotFoundError:
        return []
    if f"--hostname={name}" not in words(pid):
        return []
    found = [pid]
    above = ""
    while above != "systemd-nspawn":  # its child is the server's pid 1
        above = Path("".join(words(found[-1])[:1])).name
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(found[-1])], capture_output=True, text=True
        ).stdout.split()
        if not children:
            break
        found.append(int(children[0]))
    return found


def words(pid: int) -> list[str]:
    """Return the command line of a process that lives, or an empty list."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            line = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            return []
        if line or state == "Z":
            return [] if state == "Z" else line.split("\0")
        time.sleep(0.01)  # where another program begins, it is empty for a moment
    return []


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, 22), timeout=1) as s:
        return s.recv(4) == b"SSH-"
    return False


ACTIONS: dict[str, Callable[..., Any]] = {
    "up": up,
    "down": down,
    "boot": boot,
    "power-cut": power_cut,
    "shut-down": shut_down,
    "snapshot": snapshot,
    "forget": forget,
    "list": listing,
}


def main() -> None:
    """Run one action for an unprivileged caller.

    Its answer is one JSON document on standard output.
    """
    try:
        print(json.dumps(ACTIONS[sys.argv[1]](*sys.argv[2:])))
    except LabError as error:
        print(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
