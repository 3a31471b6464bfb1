"""One SSH connection to one server.

Opened with our trust in keys and without Nagle's delay, its errors in one line.
"""

import contextlib
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from fabric import Connection
from invoke.exceptions import AuthFailure, Exit, UnexpectedExit
from invoke.util import debug
from paramiko import (
    AuthenticationException,
    BadHostKeyException,
    Channel,
    PasswordRequiredException,
    SSHException,
    Transport,
)
from paramiko.hostkeys import InvalidHostKey

from decant.errors import ConnectError, DeployError, unforeseen
from decant.output import Output
from decant.remote import host_keys

if TYPE_CHECKING:
    from decant.config.models import Settings

# What comes from outside, and no module turned into a sentence of its own: files that cannot be
# read, a password that sudo refuses in an
# interactive command, a connection that breaks in one. Everything else that nobody foresaw is a
# mistake of ours.
FROM_OUTSIDE = (OSError, UnicodeError, SSHException, AuthFailure, InvalidHostKey)

CONNECT_TIMEOUT = 10
# What a channel that is kept ready runs: it reads a command's length, a newline, and the command's
# text. A text without the end mark was cut off on its way, and is not run.
END_MARK = "\n# whole"
# What stands before this line the login shell has printed by itself (its start-up file greets).
WAITS = b"decant: waits for a command\n"
IDLE_SHELL = (
    f"""exec sh -c 'echo "{WAITS.decode().strip()}";"""
    """ read -r size && command=$(head -c "$size") &&"""
    """ case $command in *"# whole") eval "$command" ;; esac'"""
)
SILENCE = 30_000  # milliseconds without an acknowledgement after which the network counts as cut
# A server may take what we send, and answer a byte a second or never: seconds for a login, between
# two questions whether it is still there, and for its answer.
OPENS_WITHIN, ASKS_EVERY, ANSWERS_WITHIN = 60.0, 5.0, 60.0
# What goes wrong is told in our own words; with INVOKE_DEBUG=1 paramiko's are there, too.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class ServerConnection(Connection):  # type: ignore[misc]  # fabric has no types
    """Fabric's connection with the name and the settings of the host it leads to.

    Each attribute has a value here, also where every connection gets its own: one that the class
    has not would be put into Fabric's
    configuration, which all hosts share.
    """

    server_name: str = ""
    settings: "Settings | None" = None
    pinned: str = ""
    output = Output("")
    open_lock: Any = contextlib.nullcontext()
    refused: ConnectError | None = None  # what `connect_in_background` met
    releasing_lock: Channel | None = None  # that of a lock which lets go
    slow: bool = False  # the login took too long
    pool: Any = None  # a deque of queues, from each of which comes a channel that is kept ready
    # The command that `connect_in_background` ran, its exit code, its lines, its standard error.
    prefetched: tuple[str, int, list[str], str] | None = None

    def open(self) -> Any:
        """Connect, unless that is done.

        Several threads may ask, as those of all hosts behind one gateway do.

        Raises ConnectError: no answer, key refused, host key unknown or changed.
        """
        with self.open_lock:
            if self.refused:
                refused, self.refused = self.refused, None
                raise refused
            return None if self.is_connected else self._open()

    def connect_in_background(self, command: str) -> None:
        """Open it and run a command, in a thread of its own.

        What keeps it from that is raised by the `open` that waits for it.
        """
        with self.open_lock:
            try:
                if not self.is_connected:
                    self._open()
                self.prefetch_channel()  # at the same time: the next command is known to come
                channel, lines = self.begin(command), list[str]()
                channel.shutdown_write()
                errors = read_lines(channel, lines.append)
                self.prefetched = (command, channel.recv_exit_status(), lines, errors)
            except ConnectError as error:
                self.refused = error
            except Exception as error:  # the caller that needs the connection gets the error
                debug(f"{self.server_name}: {error!r}")

    def _open(self) -> Any:
        self._trust()
        name = self.server_name
        where = f"{name} ({self.user}@{self.host}:{self.port})"
        if not self.gateway:
            self.connect_kwargs["sock"] = self._socket(where)
        late = threading.Timer(OPENS_WITHIN, self._give_up)
        late.daemon = True
        late.start()
        try:
            result = Connection.open(self)
        except BadHostKeyException as error:
            raise ConnectError(
                f"{name}: the host key of {self.host} has CHANGED to"
                f" {host_keys.fingerprint(error.key)}; if the server was set up anew, remove the"
                f" old key with: ssh-keygen -R {self.host}; else somebody may be listening: do not"
                " connect"
            ) from error
        except PasswordRequiredException as error:
            raise ConnectError(
                f"{where}: the key has a passphrase; load it with ssh-add, or give"
                " --prompt-for-passphrase"
            ) from error
        except AuthenticationException as error:
            raise ConnectError(
                f"{where}: the server refuses the key; check user and identity, or put your public"
                " key into its authorized_keys"
            ) from error
        except (SSHException, OSError, EOFError) as error:
            if self.slow:
                raise ConnectError(
                    f"{where}: no login within {OPENS_WITHIN:.0f} s: what is there answers too"
                    " slowly, or is no sshd; check address and port, and how the server is"
                ) from error
            if "No authentication methods" in str(error) or "private key file" in str(error):
                raise ConnectError(
                    f"{where}: there is no usable key ({error}); name a private key with identity,"
                    " -i or in ~/.ssh/config, or start ssh-agent"
                ) from error
            cause = str(error) or "it ended the connection, or answers too slowly"
            raise ConnectError(
                f"{where}: no SSH connection: {cause}; check address and"
                " port, and that sshd runs there"
            ) from error
        finally:
            late.cancel()
        self.connect_kwargs.pop("sock", None)
        threading.Thread(target=close_when_silent, args=(self.transport,), daemon=True).start()
        return result

    def _give_up(self) -> None:
        """End a login that takes too long."""
        self.slow, transport = True, self.client.get_transport()
        if transport:
            transport.close()

    def second(self) -> "ServerConnection":
        """Return a new connection to the same server by the same way, not open yet."""
        made = ServerConnection(
            self.original_host,
            user=self.user,
            port=self.port,
            config=self.config,
            gateway=self.gateway,
            connect_kwargs={**self.connect_kwargs},
            connect_timeout=CONNECT_TIMEOUT,
        )
        made.server_name, made.pinned, made.open_lock = (
            self.server_name,
            self.pinned,
            threading.RLock(),
        )
        made.settings, made.output, made.pool = self.settings, self.output, deque()
        return made

    def start(self, command: str, stdin: bytes = b"") -> Channel:
        """Begin a remote command, whose standard input begins with `stdin`, on a channel of its
        own.

        Raises ConnectError when the connection is gone.
        """
        self.open()
        try:
            channel = self._hand_over(command)
            if not channel:
                channel = self._open_shell()
                channel.sendall(encode_command(command))
            channel.sendall(stdin)
            self.prefetch_channel()  # after that: a server may allow few sessions
        except (SSHException, EOFError, OSError) as error:
            raise self.lost() from error
        return channel

    def _hand_over(self, command: str) -> Channel | None:
        """Hand the command to the shell that waits on a channel which was kept ready.

        None where there is none, or its shell ended while it waited: what was cut off is not run.
        """
        channel = self.take_ready()
        if channel:
            try:
                channel.sendall(encode_command(command))
            except (EOFError, OSError):
                channel.close()
                return None
        return channel

    def _open_shell(self) -> Channel:
        """Open a channel on which a shell waits for a command.

        One whose login shell is none that runs commands has ended, and whoever reads sees that.
        """
        channel = self.begin(IDLE_SHELL)
        printed = b""
        while WAITS not in printed:
            piece = channel.recv(4096)
            if not piece:
                break
            printed += piece
        return channel

    def begin(self, command: str) -> Channel:
        """Start a command on a channel of its own."""
        channel: Channel = self.transport.open_session()
        channel.exec_command(command)
        return channel

    def prefetch_channel(self) -> None:
        """Open a channel in the background on which a shell waits for a command.

        The next `start` need not wait for either.
        """
        place = SimpleQueue[Channel | None]()
        threading.Thread(target=self._open_idle_shell, args=(place,), daemon=True).start()
        self.pool.append(place)

    def _open_idle_shell(self, place: "SimpleQueue[Channel | None]") -> None:
        channel = None
        try:
            channel = self._open_shell()
        except Exception as error:
            # Closed, or the server allows no more: `start` opens a channel itself.
            debug(f"{self.server_name}: {error!r}")
        finally:
            place.put(channel)

    def take_ready(self) -> Channel | None:
        """Return a channel that is kept ready, or None."""
        try:
            channel = self.pool.popleft().get()
        except IndexError:
            channel = None
        return None if channel is None or channel.closed else channel

    def lost(self) -> ConnectError:
        """Return the error for a connection that ended under a command."""
        return ConnectError(
            f"{self.server_name}: the connection was lost; what had begun on the server is"
            " finished there: run the same command again"
        )

    def _socket(self, where: str) -> socket.socket:
        try:
            made = socket.create_connection(
                (self.host, int(self.port)), timeout=self.connect_timeout or CONNECT_TIMEOUT
            )
        except OSError as error:
            raise ConnectError(
                f"{where}: no answer: {error}; check the address and that the server is up"
            ) from error
        made.settimeout(None)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(AttributeError, OSError):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE)
        return made

    def _trust(self) -> None:
        files = tuple(str(self.ssh_config.get("userknownhostsfile", "")).split())
        host_keys.apply_policy(self.client, self.server_name, self.pinned, files)
        hop = self.gateway
        while isinstance(hop, Connection):
            # Those of hosts.toml have their own trust, when they open
            if not isinstance(hop, ServerConnection):
                host_keys.apply_policy(hop.client, hop.host)
            hop = hop.gateway


def close_when_silent(transport: Transport) -> None:
    """Ask a server again and again whether it is there, and close its connection when no answer
    comes; a stopped sshd, or a server that has lost its disk, still takes what is sent.
    """
    while transport.is_active():
        answered = threading.Event()

        def ask(done: threading.Event = answered) -> None:
            with contextlib.suppress(SSHException, EOFError, OSError):
                transport.global_request("keepalive@openssh.com", wait=True)
            done.set()

        threading.Thread(target=ask, daemon=True).start()
        if not answered.wait(ANSWERS_WITHIN):
            return transport.close()
        time.sleep(ASKS_EVERY)
    return None


@contextlib.contextmanager
def in_sentences() -> Iterator[None]:
    """Raise DeployError, with a sentence, for an exception that no module has turned into one."""
    try:
        yield
    except (Exit, UnexpectedExit):
        raise
    except Exception as error:
        raise DeployError(explained(error)) from error


def explained(error: BaseException) -> str:
    """Return the message for an exception.

    Ours in their own words, any other with what helps to find it.
    """
    if isinstance(error, DeployError):
        return str(error)
    if isinstance(error, FROM_OUTSIDE):
        return f"{type(error).__name__}: {error}; with INVOKE_DEBUG=1 the log shows where"
    return unforeseen(error)


def encode_command(command: str) -> bytes:
    """Return a command as a waiting shell reads it."""
    text = f"{command}{END_MARK}".encode()
    return b"%d\n%s" % (len(text), text)


def read_lines(channel: Channel, on_line: Callable[[str], None]) -> str:
    """Feed each line of a channel's standard output to `on_line` until it ends.

    Return its standard error.
    """
    with channel.makefile("rb") as output:
        for raw in output:
            on_line(raw.decode("utf-8", "replace").rstrip("\n"))
    with channel.makefile_stderr("rb") as errors:
        return str(errors.read().decode("utf-8", "replace"))
