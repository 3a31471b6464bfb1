"""JSON over HTTP, as a platform's API takes it; no secret of a request is in an error."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from decant.errors import DeployError

ANSWERS = 60.0  # seconds in which an API answers
SILENCE = 3600.0  # seconds in which a stream may have no line


class PlatformError(DeployError):
    """Say what a platform answered; `status` is HTTP's, 0 where no answer came."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """An API at one address, which a key opens; `headers` go with every request."""

    def __init__(self, name: str, url: str, key: str, headers: dict[str, str]) -> None:
        self.name, self.url, self.key = name, url.rstrip("/"), key
        self.headers = {**headers, "Authorization": f"Bearer {key}"}

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Return the document that answers a request.

        Raises PlatformError with what the API says.
        """
        data = None if body is None else json.dumps(body).encode()
        given = {**self.headers, **{name.replace("_", "-"): text for name, text in headers.items()}}
        if data is not None:
            given["Content-Type"] = "application/json"
        status, reason, answer = request(method, f"{self.url}{path}", data, given, self.name)
        try:
            document = json.loads(answer or b"null")
        except ValueError:
            document = None
        if status >= 400:
            said = document.get("message") if isinstance(document, dict) else ""
            raise PlatformError(f"{self.name}: {said or f'{status} {reason}'}", status)
        return document


def request(
    method: str, url: str, data: bytes | None, headers: dict[str, str], name: str
) -> tuple[int, str, bytes]:
    """Send a request; return the status, its reason and what was answered.

    Nothing is added to the headers: a presigned URL refuses what it was not signed for.
    """
    connection = _connection(url)
    try:
        connection.request(method, _target(url), data, headers)
        answer = connection.getresponse()
        return answer.status, answer.reason, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(name, url, error) from None
    finally:
        connection.close()


def lines(url: str, name: str) -> Iterator[str]:
    """Yield the lines of a stream of text, as they come."""
    connection = _connection(url, SILENCE)
    try:
        connection.request("GET", _target(url), headers={"Accept": "text/plain"})
        answer = connection.getresponse()
        if answer.status >= 400:
            said = f"{name}: the stream answered {answer.status} {answer.reason}"
            raise PlatformError(said, answer.status)
        while line := answer.readline():
            yield line.decode("utf-8", "replace").rstrip("\r\n")
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(name, url, error) from None
    finally:
        connection.close()


def _connection(url: str, limit: float = ANSWERS) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=limit)


def _target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"


def _unreachable(name: str, url: str, error: Exception) -> PlatformError:
    why = str(error) or type(error).__name__
    return PlatformError(f"{name}: {urlsplit(url).hostname} cannot be reached: {why}; run it again")
