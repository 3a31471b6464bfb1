"""Work on the application's database as its server's administrator: dump, restore, create ....

No action takes or shows a password.

Arguments: the application's folder, the action, its words. What the database is,
procedures/app.conf says. What enters the database is inside/client.py. Standard library only.

`exists` and `created` answer by their exit code: 0 yes, 1 no, 2 it could not be told. `size` prints
bytes, `suffix` how the names of its dumps end, `journal` SQLite's journal mode, `status` a JSON
document. `room FOLDER` fails where a dump has no room; `ready FOLDER` also where it could not be put
back, and prints a JSON document: `exists`, `size`, `suffix`, `folder` (where its files are). `dump FILE`,
`restore FILE`, `verify FILE` (is it one that could be restored?), both with the word `administrator`
where its account is to do it; `put_away ID`, `create`, `drop`, `shell`.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from engine import Engine, Failure, read_conf
from mariadb import MariaDB
from postgresql import PostgreSQL
from sqlite import Sqlite

ENGINES: dict[str, type[Engine]] = {"sqlite": Sqlite, "mariadb": MariaDB, "postgresql": PostgreSQL}


def kind_of(file: str) -> str:
    """Tell by a dump's name which database it is of, or nothing."""
    plain = file.removesuffix(".gz")
    return next(
        (
            kind
            for kind, engine in ENGINES.items()
            if plain.endswith(engine.suffix.removesuffix(".gz"))
        ),
        "",
    )


def readable(engine: Engine, file: str) -> Path:
    """Return a dump's path; raise Failure for one that is not there or is another database's."""
    if not Path(file).is_file():
        raise Failure(f"there is no dump {file}")
    if kind_of(file) != engine.conf["db_kind"]:
        raise Failure(
            f"{Path(file).name} is no dump of {engine.conf['db_kind']}: its name should end in"
            f" {engine.suffix}"
        )
    return Path(file)


def act(engine: Engine, action: str, words: list[str]) -> int:
    """Do it, and return the exit code."""
    if action not in ("create", "created", "drop", "suffix", "put_away"):
        engine.same()
    match action:
        case "exists" | "created":
            return 0 if getattr(engine, action)() else 1
        case "size" | "journal":
            print(getattr(engine.found(action), action))
        case "suffix":
            print(engine.suffix)
        case "status":
            found = engine.found("measure")
            journal = {"journal": found.journal} if found.journal else {}
            print(json.dumps({"size": found.size, "tables": found.tables, **journal}))
        case "ready":
            there = engine.ready(words[0])
            told = {"exists": there.exists, "size": there.size}
            print(json.dumps({**told, "suffix": engine.suffix, "folder": engine.folder}))
        case "restore" | "verify":
            work = engine.load if action == "restore" else engine.verify
            work(readable(engine, words[0]), administrator=words[1:] == ["administrator"])
        case "shell":
            engine.shell()
        case "put_away":
            if isinstance(engine, Sqlite):
                engine.put_away(words[0])
        case "create" | "drop" | "dump" | "room":
            getattr(engine, action)(*words)
        case _:
            raise Failure(f"no action {action}")
    return 0


def main() -> int:
    """Do what the words say."""
    root, action, *words = Path(sys.argv[1]), *sys.argv[2:]
    conf = read_conf(root)
    if conf["db_kind"] not in ENGINES:
        if action == "size":
            print(0)
        return 1 if action == "exists" else 0  # an external database is not ours to dump
    try:
        return act(ENGINES[conf["db_kind"]](root, conf), action, words)
    except Exception as error:  # 1 would mean "no"
        print(
            f"{conf['db_kind']}: {error if isinstance(error, Failure | OSError) else repr(error)}",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
