"""Serve an application below a path of its site, on whichever WSGI server.

`under(prefix, application)` returns the application as the server calls it: what comes after the
prefix is its PATH_INFO, and SCRIPT_NAME has the prefix (PEP 3333), so that the URLs which it makes
have it, too. Standard library only.
"""

from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def under(prefix: str, application: Application) -> Application:
    """Return an application that answers below a prefix, and 404 beside it."""

    def mounted(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        # Where the server has split the path already, it did so in another place.
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
        if not f"{path}/".startswith(f"{prefix}/"):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"Not Found\n"]
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = prefix, path[len(prefix) :]
        return application(environ, start_response)

    return mounted if prefix else application
