"""Put the files of app.files into a release: configuration that is in no repository.

Arguments: the application's folder, the unfinished release, app.subdir, the account, and the
variable with the database's URL. What they are is in the release's `.deploy/files.json`: (path in
the release, name in `.deploy/files`). What only the server knows is filled in here: {db.password},
and {env.NAME} for a variable of the release. Runs as root on a tree that is root's alone. Standard
library only.
"""

import contextlib
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

PLACE = re.compile(r"\{(db\.password|env\.[A-Za-z_][A-Za-z0-9_]*)\}")


def fail(message: str) -> NoReturn:
    """Stop with a cause."""
    print(message)
    sys.exit(1)


def variables(*files: Path) -> dict[str, str]:
    """Return the variables of files in our dialect: KEY="value" with JSON's escapes."""
    found = {}
    for file in files:
        for line in file.read_text(encoding="utf-8").split("\n") if file.exists() else ():
            name, _, value = line.strip().partition("=")
            if name and not name.startswith("#"):
                try:
                    found[name] = str(json.loads(value))
                except ValueError:
                    continue
    return found


def with_database(known: dict[str, str], deploy: Path) -> dict[str, str]:
    """Return a release's variables as its processes see them: the database's URL with the driver,
    and the password where it is asked for (with-env does the same for them).
    """
    if not (deploy / "database").exists():
        return known
    source, scheme, *names = (deploy / "database").read_text(encoding="utf-8").split()
    url = known.get(source, "")
    password = unquote(urlsplit(url).password or "")
    own = {name: known[name].replace("{db.password}", password) for name in names if name in known}
    return known | own | ({source: f"{scheme}:{url.partition(':')[2]}"} if url else {})


def filled(text: str, known: dict[str, str], target: str, variable: str, folder: str) -> str:
    """Fill in what only the server knows; `folder`: the application's in the release."""

    def value(found: re.Match[str]) -> str:
        if found[1] == "db.password":
            secret = urlsplit(known.get(variable, "")).password
            if not secret:
                fail(
                    f"app.files.{target}: {found[0]}: there is no database whose password is made here"
                )
            return unquote(secret)
        name = found[1].removeprefix("env.")
        if name not in known:
            fail(f"app.files.{target}: there is no variable {name}; set it in app.env or env_file")
        return known[name].replace("{app.folder}", folder)

    return PLACE.sub(value, text)


def target_in(tree: Path, path: str) -> Path:
    """Return where a file lands; no part of the way may be a link."""
    target = tree
    for part in path.split("/"):
        target /= part
        if target.is_symlink():
            fail(
                f"app.files.{path}: {target.relative_to(tree)} in the release is a symbolic link, and"
                " is not followed; choose another path, or take the link out of the repository"
            )
    if target.is_dir():
        fail(f"app.files.{path}: that is a folder in the release; name the file in it")
    return target


def put(root: Path, part: Path, subdir: str, account: str, variable: str) -> None:
    """Put the files there, each root's and readable by the application alone."""
    deploy = part / ".deploy"
    listed = json.loads((deploy / "files.json").read_text(encoding="utf-8"))
    known = with_database(variables(deploy / "env", root / "shared/secrets.env"), deploy)
    folder = f"{root}/releases/{part.name.removeprefix('.part-')}/{subdir}".rstrip("/")
    for path, name in listed:
        data = (deploy / "files" / name).read_bytes()
        with contextlib.suppress(UnicodeDecodeError):  # what is no text stays as it is
            data = filled(data.decode(), known, path, variable, folder).encode()
        target = target_in(part / subdir, path)
        target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        for parent in target.parents:
            if parent == part / subdir:
                break
            if parent.stat().st_uid == 0 and parent.group() == "root":
                shutil.chown(parent, "root", account)
        target.unlink(missing_ok=True)
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb") as file:
            file.write(data)
        shutil.chown(target, "root", account)
        target.chmod(0o640)
    shutil.rmtree(deploy / "files")


if __name__ == "__main__":
    folder, release, subdir, account, variable = sys.argv[1:]
    put(Path(folder), Path(release), subdir, account, variable)
