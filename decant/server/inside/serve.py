"""Serve a release on a private unix socket, for the smoke test of a stack whose server cannot be
started alone (mod_wsgi).

Arguments: the callable's name, the socket's path, and the path below which the application is,
where it is not at the root of its site. Tells systemd when it is ready. Standard library only.
"""

import runpy
import socket
import socketserver
import sys
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

sys.path[0] = str(Path(__file__).parent)
from decant_load import load  # noqa: E402
from decant_mounted import under  # noqa: E402

sys.path[0] = str(Path.cwd())  # the release's folder, where it is started

# Not imported: the application may have a module of that name.
READY = runpy.run_path(str(Path(__file__).with_name("ready.py")))


class Server(WSGIServer):
    """A WSGI server on a unix socket."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        """Open the socket; there is no host name to look up."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 80
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection; who asks is on this machine."""
        return self.socket.accept()[0], ("127.0.0.1", 0)


class Handler(WSGIRequestHandler):
    """A handler without a log."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


application = under("".join(sys.argv[3:]), load(sys.argv[1]))
with Server(sys.argv[2], Handler) as server:  # type: ignore[arg-type]
    server.set_app(application)
    READY["tell_systemd"]()
    server.serve_forever()
