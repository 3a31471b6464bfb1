"""Becoming root.

What is put before a command, what sudo reads, and what it says when it refuses.
"""

from typing import TYPE_CHECKING

from decant.quoting import Secret

if TYPE_CHECKING:
    from decant.config.models import Settings

REFUSALS = (
    b"Sorry, try again",
    b"incorrect password",
    b"no password was provided",
    b"not in the sudoers",
    b"may not run sudo",
    b"not allowed to",
)
# By what facts.sh found. With -k sudo reads the password also where it remembers one, and what
# follows it is the command's.
PREFIXES = {
    "root": "",
    "passwordless": "LC_ALL=C sudo -n -- ",
    "password": "LC_ALL=C sudo -k -S -p '' -- ",
}


def refused(errors: str) -> bool:
    """Tell whether sudo said these errors."""
    return any(word.decode() in errors for word in REFUSALS)


def explained(status: int, errors: str, user: str, host: str) -> str:
    """Return what a command's exit code and errors mean, and what to do."""
    last = (errors.strip().splitlines() or [f"exit code {status}"])[-1]
    if (
        "incorrect password" in errors
        or "no password was provided" in errors
        or "Sorry, try again" in errors
    ):
        return f"sudo does not take the password of {user}; correct SUDO_PASSWORD in .env.deploy"
    if "not in the sudoers" in errors or "may not run sudo" in errors:
        return (
            f"{user} may not use sudo there; add it to the group sudo, or log in as root"
            f" (hosts.{host}.user)"
        )
    if "No space left" in errors:
        return f"no free disk: {last}"
    return f"the program did not run to its end: {last}; run the same command again"


def password(settings: "Settings", name: str) -> Secret:
    """Return SUDO_PASSWORD_<HOST> or SUDO_PASSWORD from `.env.deploy` beside hosts.toml, or an
    empty secret.
    """
    from dotenv import dotenv_values

    path = settings.folder / ".env.deploy"
    values = dotenv_values(path, interpolate=False) if path.is_file() else {}
    own = f"SUDO_PASSWORD_{''.join(c if c.isalnum() else '_' for c in name).upper()}"
    return Secret(values.get(own) or values.get("SUDO_PASSWORD") or "")
