"""Files to a server and from it."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.exceptions import UnexpectedExit
from paramiko import Channel, SSHException

from decant.config.source import Source, stage, unsafe
from decant.errors import DeployError
from decant.remote import patchwork_rsync

if TYPE_CHECKING:
    from decant.remote.host import Host


def send_tree(host: "Host", sent: Source) -> str:
    """Bring a working tree into the application's incoming folder by patchwork's rsync, and return
    that folder.

    Returns an empty string where rsync cannot log in as we did (password, jump host, sudo with
    password), or rsync or patchwork is missing.
    """
    c = host.connection
    keys = [str(key) for key in c.connect_kwargs.get("key_filename", [])]
    rsync_path = {"root": "rsync", "passwordless": "sudo -n rsync"}.get(host.facts.sudo, "")
    plain = (
        not any(unsafe(text) for text in (*keys, c.host, c.user))
        and not c.connect_kwargs.get("password")
        and not c.gateway
    )
    if host.dry or not (rsync_path and plain and shutil.which("rsync") and shutil.which("ssh")):
        return ""
    rsync = patchwork_rsync.rsync()
    if rsync is None:
        return ""
    c.open()
    target = f"{host.paths.root}/incoming"
    with stage(sent) as folder, tempfile.NamedTemporaryFile("w", prefix="decant-") as known_hosts:
        key = c.transport.get_remote_server_key()
        known_hosts.write(
            f"{c.host if c.port == 22 else f'[{c.host}]:{c.port}'} {key.get_name()}"
            f" {key.get_base64()}\n"
        )
        known_hosts.flush()
        ssh_opts = (
            "-o BatchMode=yes -o StrictHostKeyChecking=yes -o"
            f" UserKnownHostsFile={known_hosts.name}"
        )
        try:
            rsync(
                c,
                f"{folder}/",
                target,
                delete=True,
                rsync_opts=f"--links --quiet --rsync-path='{rsync_path}'",
                ssh_opts=ssh_opts,
            )
        except UnexpectedExit as error:
            host.output.line(
                f"rsync did not get through ({error.result.stderr.strip().splitlines()[-1:]});"
                " sending the tree as a tar"
            )
            return ""
    return target


def fetch(host: "Host", path: str, target: Path) -> None:
    """Copy a file of the server into a new local file that only you can read.

    Raises DeployError where the local file cannot be written, or the server's cannot be read.
    """
    unfinished = target.with_name(f"{target.name}.part")
    try:
        out = os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise DeployError(f"{target}: {error.strerror}; name another file") from error
    channel = host.start("cat", path)
    channel.shutdown_write()
    with out:
        while data := _received(host, channel):
            out.write(data)
    if channel.recv_exit_status():
        unfinished.unlink()
        raise DeployError(
            f"{host.name}: {path} could not be read:"
            f" {channel.makefile_stderr('rb').read().decode('utf-8', 'replace').strip()}"
        )
    unfinished.rename(target)


def send(host: "Host", source: Path, path: str) -> None:
    """Copy a local file to the server, where only root can read it.

    Raises DeployError where the server cannot write it.
    """
    channel = host.start("sh", "-c", 'umask 077 && cat >"$1"', "send", path)
    try:
        with (
            source.open("rb") as data,
            contextlib.suppress(OSError),
        ):  # why it takes no more, the exit code says
            while piece := data.read(1 << 20):
                channel.sendall(piece)
        channel.shutdown_write()
        errors = channel.makefile_stderr("rb").read().decode("utf-8", "replace").strip()
        status = channel.recv_exit_status()
    except (SSHException, EOFError) as error:
        raise host.connection.lost() from error
    if status:
        raise DeployError(
            f"{host.name}: {path} could not be written: {errors or f'exit code {status}'}"
        )


def _received(host: "Host", channel: Channel) -> bytes:
    try:
        return bytes(channel.recv(1 << 16))
    except (SSHException, EOFError, OSError) as error:
        raise host.connection.lost() from error
