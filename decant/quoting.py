"""Quoting for the remote shell: no value enters a shell text any other way."""

import shlex
from collections.abc import Iterable, Mapping


class Secret:
    """Hold a value that no log, diff or error shows: `reveal()` is the only way to it."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself, to be sent and not shown."""
        return self._value

    def __str__(self) -> str:
        return "[REDACTED]"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def quote(value: str) -> str:
    """Return the value as one word of POSIX sh.

    Raises ValueError for NUL, which no argument can hold.
    """
    if "\0" in value:
        raise ValueError("a NUL character cannot be passed to a shell")
    return shlex.quote(value)


def join(words: Iterable[str]) -> str:
    """Return the words as one simple command of POSIX sh."""
    return " ".join(quote(word) for word in words)


def all_of(*commands: str) -> str:
    """Return commands (shell texts) that run until one fails."""
    return " && ".join(commands)


def assignments(values: Mapping[str, str]) -> str:
    """Return a file of sh assignments, one a line, for a procedure to read with `.`."""
    for name in values:
        if not name.isidentifier():
            raise ValueError(f"{name!r} is no shell variable")
    return "".join(f"{name}={quote(value)}\n" for name, value in values.items())
