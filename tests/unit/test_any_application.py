"""What hosts.toml says of an application whose author never saw it, and what the first error says."""

import functools
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from decant.config import contents, json_schema, source
from decant.config.variables import deploy_variables
from decant.errors import SettingsError
from decant.plans import python, release_files
from decant.plans.rendering import SERVER
from tests.unit.test_procedures import module_of
from tests.unit.values import FACTS, MISTAKES, content, settings

LOCAL = {"name": "shop", "source": "."}
GIT = dict.fromkeys(
    ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"),
    "t@example.org",
)


def write(folder: Path, *names: str, text: str = "app = 1\n") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-c", "protocol.file.allow=always", "-C", str(folder), *words],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **GIT},
    ).stdout.strip()


# --- what a local source lacks


@pytest.mark.parametrize(
    ("app", "wsgi", "said"),
    [
        ({"static": {"/s": "shop/static"}}, "wsgi:app", ""),
        ({"static": {"/a.css": "shop/static/a.css"}}, "wsgi:app", ""),
        ({"static": {"/s": "media"}, "shared": ["instance", "media"]}, "wsgi:app", ""),
        (
            {"static": {"/s": "shop/statc"}},
            "wsgi:app",
            "app.static./s: there is no folder shop/statc in the release, did you mean shop/static?",
        ),
        (
            {"static": {"/s": "dist"}},
            "wsgi:app",
            "there is no folder dist in the release: git ignores it, so it is not sent",
        ),
        ({"subdir": "web"}, "wsgi:app", "app.subdir: there is no folder web in "),
        ({"static": {"/r.txt": "r.txt"}, "files": {"r.txt": "main.py"}}, "wsgi:app", ""),
        ({"static": {"/s": "link/below"}}, "wsgi:app", ""),
        ({}, "shop.web:create_app()", ""),
        (
            {},
            "web:app",
            "wsgi.app: there is no module web in ",
        ),
        ({}, "web:app", ", did you mean main:app?"),
    ],
)
def test_what_a_working_tree_lacks_is_said_before_anything_is_connected(
    tmp_path: Path, app: dict[str, Any], wsgi: str, said: str
) -> None:
    write(tmp_path, "wsgi.py", "shop/web.py", text="")
    write(tmp_path, "main.py", "shop/static/a.css", "dist/app.js")
    write(tmp_path, ".gitignore", text="dist/\n")
    (tmp_path / "link").symlink_to("shop")
    git(tmp_path, "init", "-q")
    made = settings(tmp_path, app={**LOCAL, **app}, wsgi={"app": wsgi})
    if not said:
        contents.check(made)
        return
    with pytest.raises(SettingsError) as error:
        contents.check(made)
    assert said in str(error.value)


def test_a_commit_is_looked_at_too_and_what_an_installed_package_may_bring_is_not_missed(
    tmp_path: Path,
) -> None:
    write(tmp_path, "wsgi.py")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    write(tmp_path, "web.py")
    committed = {**LOCAL, "ref": "HEAD"}
    with pytest.raises(SettingsError, match=r"there is no module web"):
        contents.check(settings(tmp_path, app=committed, wsgi={"app": "web:app"}))
    packages = {"packages": ["web"]}
    contents.check(settings(tmp_path, app=committed, wsgi={"app": "web:app"}, python=packages))
    write(tmp_path, "pyproject.toml")
    contents.check(settings(tmp_path, app=LOCAL, wsgi={"app": "nowhere:app"}))
    contents.check(settings(tmp_path))  # a git URL: the server looks


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A repository with a submodule that has one, too."""
    for name, inner in (("deep", ""), ("theme", "deep"), ("top", "theme")):
        folder = tmp_path / name
        write(folder, "wsgi.py", f"{name}.txt")
        git(folder, "init", "-q", "-b", "main")
        if inner:
            git(folder, "submodule", "--quiet", "add", str(tmp_path / inner), inner)
            git(folder, "submodule", "--quiet", "update", "--init", "--recursive")
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", name)
    return tmp_path / "top"


@pytest.mark.parametrize("ref", ["", "HEAD"])
def test_submodules_are_part_of_a_working_tree_and_of_a_commit(modules: Path, ref: str) -> None:
    found = source.find(settings(modules, app={**LOCAL, "ref": ref}))
    assert {"top.txt", "theme/theme.txt", "theme/deep/deep.txt"} <= set(found.files)
    (modules.parent / "out").mkdir()
    subprocess.run(
        ["tar", "-xf", "-", "-C", str(modules.parent / "out")], input=found.archive(), check=True
    )
    assert (modules.parent / "out/theme/deep/deep.txt").is_file()


@pytest.mark.parametrize("ref", ["", "HEAD"])
def test_a_submodule_that_is_not_checked_out_is_refused_by_name(modules: Path, ref: str) -> None:
    git(modules, "submodule", "--quiet", "deinit", "-f", "theme")
    with pytest.raises(SettingsError, match=r"the submodule theme of .* is not checked out"):
        source.find(settings(modules, app={**LOCAL, "ref": ref}))


def test_what_is_sent_besides_may_be_ignored_by_git_and_has_to_be_there(tmp_path: Path) -> None:
    write(tmp_path, "wsgi.py", "dist/a/b.js")
    write(tmp_path, ".gitignore", text="dist\n")
    git(tmp_path, "init", "-q")
    asked = {**LOCAL, "send": ["dist"]}
    assert "dist/a/b.js" in source.find(settings(tmp_path, app=asked)).files
    with pytest.raises(SettingsError, match=r"app.send: there is no built in .*; build it first"):
        source.find(settings(tmp_path, app={**LOCAL, "send": ["built"]}))


@pytest.mark.parametrize(
    ("url", "base", "found", "allowed"),
    [
        ("https://h/x.git", "", "https://h/x.git", True),
        ("ssh://git@h:22/x", "", "ssh://git@h:22/x", True),
        ("git@h:team/x.git", "", "git@h:team/x.git", True),
        ("../x.git", "https://h/team/y.git", "https://h/team/x.git", True),
        ("./x", "git@h:team/y", "git@h:team/y/x", True),
        ("../x", "git@h:team/y", "git@h:team/x", True),
        ("../../../etc", "file:///srv/y", "file:///etc", False),
        ("/etc/x", "https://h/y", "/etc/x", False),
        ("file:///x", "", "file:///x", False),
        ("ext::sh -c id", "", "ext::sh -c id", False),
        ("--upload-pack=x", "", "--upload-pack=x", False),
        ("ssh://-oProxyCommand=x/y", "", "ssh://-oProxyCommand=x/y", False),
        ("git@h:-x", "", "git@h:-x", False),
        ("git://h/x", "", "git://h/x", False),
        ("https://h/x y", "", "https://h/x y", False),
        ("", "", "", False),
    ],
)
def test_a_submodule_comes_by_https_or_ssh(url: str, base: str, found: str, allowed: bool) -> None:
    module = module_of("submodules")
    assert module.absolute(url, base) == found
    assert bool(module.ALLOWED.fullmatch(found)) is allowed


# --- causes


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "PermissionError: [Errno 13] Permission denied: '/srv/shop/releases/.part-2-a/app.log'",
            "PermissionError: [Errno 13] Permission denied: 'app.log'; a release is read-only: add"
            ' "app.log" to app.shared',
        ),
        (
            "OSError: [Errno 30] Read-only file system: '/srv/shop/releases/2-a/var/x/y'",
            'add "var" to app.shared',
        ),
        (
            "OSError: [Errno 30] Read-only file system: '/var/log/x'",
            "have it write /var/log/x to one",
        ),
        (
            "sqlalchemy.exc.OperationalError: unable to open database file",
            "use the URL in db.variable",
        ),
        ("ModuleNotFoundError: No module named 'distutils'", "a package is older than this Python"),
        ("OSError: [Errno 98] Address already in use", "DECANT_SMOKE is set where"),
        ("ModuleNotFoundError: No module named 'a.b'", "add what brings a to the application's"),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: 'git'",
            "if git is a program, name its Debian package in system.packages",
        ),
        ("/: no answer (timed out)", "raise app.health.timeout"),
        ("/ answered 404 NOT FOUND, wanted 200-399", "have app.health.path name a page"),
        ("/ answered 400 BAD REQUEST, wanted 200", "app.health.host"),
        ("/ answered 401 UNAUTHORIZED, wanted 200", "a path that needs no login"),
        (
            "Error: class uri 'gevent' invalid or not found:\nModuleNotFoundError: No module named"
            " 'packaging'\nthe release does not start",
            'python.packages = ["gunicorn[gevent]"]',
        ),
        (
            "set TOKEN\n  File x\nSystemExit: 1",
            "cannot: the application ended itself: set TOKEN",
        ),
        ("ValueError: what nobody knows", "cannot: ValueError: what nobody knows"),
        (
            'psycopg.OperationalError: connection failed: connection to server at "127.0.0.1",'
            " port 5432 failed: Connection refused\n(Background on this error at: https://sqlalche.me/e/21/e3q8)",
            "port 5432 failed: Connection refused; the database does not answer",
        ),
        (
            "pymysql.err.OperationalError: (2003, \"Can't connect to MySQL server on 'localhost'\")",
            "the database does not answer",
        ),
        (
            "[ERROR] Worker (pid:12) was sent SIGKILL! Perhaps out of memory?\n/: no answer (timed out)",
            "/: no answer (timed out); its workers were killed",
        ),
        (
            "DAMN ! worker 1 (pid: 9) died, killed by signal 9 :( trying respawn ...\n/: no answer (timed out)",
            "its workers were killed",
        ),
        # What was said in passing is not the cause of another error.
        (
            "warning: No module named 'ujson'\nValueError: x",
            "cannot: ValueError: x",
        ),
        ("", "cannot"),
    ],
)
def test_a_cause_is_one_line_with_the_key_that_mends_it(text: str, line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", SERVER / "causes.py", "cannot", "/srv/shop"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    assert line in done.stdout
    assert done.stdout.count("\n") == 1
    assert "/releases" not in done.stdout and ".part" not in done.stdout


# --- an application inside another


def test_a_flask_application_is_found_inside_whatever_is_around_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Flask:
        def wsgi_app(self) -> None: ...

    fake: Any = types.ModuleType("flask")
    fake.Flask = Flask
    monkeypatch.setitem(sys.modules, "flask", fake)
    found = module_of("decant_load").flask_applications
    app, other = Flask(), Flask()

    class Middleware:
        def __init__(self, app: object, **more: object) -> None:
            self.app = app
            self.__dict__ |= more

    def closure(inner: object) -> object:
        return lambda: inner

    assert found(app) == [app]
    assert found(Middleware(app)) == [app]
    assert found(Middleware(app.wsgi_app)) == [app]
    assert found(Middleware(Middleware(None, mounts={"/x": other}), second=app)) == [app, other]
    assert found(closure(closure(app))) == [app]
    assert found(functools.partial(print, app=app)) == [app]
    assert found(print) == found(object()) == found(Flask) == found(fake) == []
    around = Middleware(None)
    around.app = around
    assert found(around) == []


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql+psycopg2://u:p@localhost/x", ("localhost:5432", "x")),
        ("postgresql://u:q@127.0.0.1:5432/x?sslmode=require", ("localhost:5432", "x")),
        ("postgresql:///x", ("localhost:5432", "x")),
        ("mysql+pymysql://u:p@db.example.org/x", ("db.example.org:3306", "x")),
        ("sqlite:////tmp/../tmp/x.db", ("", "/tmp/x.db")),
        ("sqlite://", ("", ":memory:")),
    ],
)
def test_two_urls_of_one_database_are_the_same_place(url: str, place: tuple[str, str]) -> None:
    module = module_of("decant_migrations")
    assert module._place(url) == place
    assert ":p@" not in module._shown(url) and ":q@" not in module._shown(url)


# --- what a build needs


@pytest.mark.parametrize(
    ("commands", "names"),
    [
        (["npm ci && npm run build"], {"npm"}),
        (["cd web; yarn build", "pnpm i"], {"yarn", "pnpm"}),
        (["flask translate compile", "make npm-free"], set()),
    ],
)
def test_a_build_says_by_its_commands_whether_it_needs_node(
    commands: list[str], names: set[str]
) -> None:
    assert module_of("build_commands").of_node(commands) == names


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({}, ""),
        ({".nvmrc": "v22.1.0\n"}, "22.1.0"),
        ({".nvmrc": "lts/*\n"}, ""),
        ({".node-version": "20"}, "20"),
        ({"package.json": json.dumps({"engines": {"node": ">=18"}})}, ">=18"),
        ({"package.json": json.dumps({"engines": 1})}, ""),
        ({"package.json": "[1]"}, ""),
    ],
)
def test_the_repository_says_which_node_it_wants(
    tmp_path: Path, files: dict[str, str], version: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert module_of("build_commands").wanted_node(tmp_path, tmp_path) == version


def test_commands_run_as_they_are_written_and_the_first_that_fails_ends_the_build(
    tmp_path: Path,
) -> None:
    write(tmp_path, "tree/wsgi.py")
    (tmp_path / "settings").mkdir()
    (tmp_path / "cache").mkdir()
    told: dict[str, Any] = {
        "folder": str(tmp_path / "tree"),
        "kept": str(tmp_path / "cache"),
        "cache": ["node_modules"],
        "env": {"WORD": "it's ü $(x)"},
    }

    def build(*commands: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "settings/environment.json").write_text("{}")
        given = {**told, "commands": commands}
        (tmp_path / "settings/commands.json").write_text(json.dumps(given))
        return subprocess.run(
            [sys.executable, "-I", SERVER / "inside/build_commands.py", tmp_path / "venv", "run"],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(tmp_path / "settings")},
        )

    odd = "printf '%s' \"$WORD\" > \"a b\"\nmkdir node_modules 2>/dev/null || echo 'ü' > again"
    assert build(odd).returncode == 0
    assert (tmp_path / "tree/a b").read_text() == "it's ü $(x)"
    assert not (tmp_path / "tree/node_modules").exists()
    assert build(odd).returncode == 0
    assert (tmp_path / "tree/again").read_text() == "ü\n"
    done = build("echo one", "echo two; exit 3", "touch never")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        1,
        "app.build: echo two; exit 3 failed (exit code 3): two",
    )
    assert not (tmp_path / "tree/never").exists()
    assert (tmp_path / "cache/node_modules").is_dir()


# --- the keys


@pytest.mark.parametrize(
    ("section", "key", "values"),
    [
        ("app", "pending", [1, ["x"], {"a": "b"}, True, "a\0b", "  "]),
        ("app", "migrate", [1, ["x"], True, "a\0b"]),
        ("app", "static", [["x"], "x", {"x": "y"}, {"/x": "/etc"}, {"/x": 1}]),
        ("app", "setup", ["x", [""], [1], ["a\0b"]]),
        ("app", "build", ["npm ci", [" "], [["x"]]]),
        ("app", "build_cache", ["x", ["/x"], ["../x"], [""]]),
        ("app", "build_secrets", ["yes", 1]),
        ("app", "send", ["x", ["/etc"], ["a/../../b"]]),
        ("app", "files", [["x"], {"/etc/x": "y"}, {"../x": "y"}, {".deploy/x": "y"}, {"x": 1}]),
        ("app", "shared", ["x", [".git"], [".env"], ["a/.env.local"], [".deploy"], ["."], [".."]]),
        ("python", "requirements", [1, "../x", "/x"]),
        ("python", "groups", ["x", ["-x"], [""], ["a b"]]),
        ("python", "extras", ["x", [1], ["a,b"]]),
        ("python", "env", [["x"], {"a b": "x"}, {"X": 1}]),
        ("db", "driver", [1, ["x"], "../x"]),
        ("wsgi", "switch", [1, True, "stopfirst", ["stop-first"]]),
        ("wsgi", "drain", ["5", -1, True, [5]]),
    ],
)
def test_a_new_key_of_the_wrong_kind_is_a_mistake(
    section: str, key: str, values: list[Any]
) -> None:
    for value in values:
        with pytest.raises(MISTAKES, match=rf"{section}\.{key}"):
            settings(Path("/nowhere"), **{section: {key: value}})


@pytest.mark.parametrize("command", ["echo \"$(printf 'ü')\"\ntest -n '$x'", "a 'b' \"c\" `d`"])
def test_a_command_may_be_anything_that_a_shell_takes(command: str) -> None:
    made = settings(app={"migrate": command, "pending": command, "setup": [command]})
    assert (made.app.migrate, made.app.pending, made.app.setup) == (command, command, (command,))


def test_every_new_key_is_described_in_the_schema() -> None:
    tables = json_schema.schema()["$defs"]
    keys = {
        "App": "migrate pending setup build build_cache build_secrets send files shared static",
        "Python": "requirements groups extras env",
        "Db": "driver",
        "Wsgi": "switch drain",
    }
    for table, names in keys.items():
        for name in names.split():
            about = tables[table]["properties"][name]
            assert about.get("description"), f"{table}.{name}"


def test_a_build_that_does_not_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assets = module_of("assets")
    monkeypatch.setattr(assets, "LIMIT", 0)
    monkeypatch.setattr(assets, "settings_for_builds", lambda *_: None)
    monkeypatch.setattr(assets, "application", lambda *_: "shop")
    monkeypatch.setattr(assets, "for_builder", lambda root, name, _: root / name)
    ended = subprocess.CompletedProcess([], 143, "one\n", "")
    given = iter([subprocess.CompletedProcess([], 0, "", ""), ended])
    monkeypatch.setattr(assets, "confined", lambda *_: next(given))
    write(tmp_path, "procedures/environment.json", text='{"env": {}}')
    write(tmp_path, "commands.json", text="")
    (tmp_path / "build/cache").mkdir(parents=True)
    told = {"env": {}, "secrets": False, "cache": [], "commands": ["sleep 9"], "shared": []}
    with pytest.raises(SystemExit):
        assets.commands(tmp_path, tmp_path / "part", told, tmp_path / "copy", "")
    assert "app.build: it did not end within 0 minutes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ({"pending": "true"}, "app.pending: goes with an app.migrate of your own"),
        ({"pending": "true", "migrate": ""}, "app.pending: goes with an app.migrate of your own"),
        ({"send": ["dist"]}, "app.send: goes with a working tree"),
        ({"build_cache": ["x"]}, "app.build_cache: goes with app.build"),
        ({"files": {"instance/x": "y"}}, "app.files.instance/x: is inside a shared folder"),
        ({"shared": ["instance", "secrets.env"]}, "app.shared: secrets.env is this tool's own"),
    ],
)
def test_keys_that_do_not_go_together_are_said(app: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as error:
        settings(app=app)
    assert said in str(error.value)


def test_names_tell_files_from_folders() -> None:
    made = settings(
        app={
            "shared": ["instance", ".data", "app.log", "conf.d", "media/", "var/db.sqlite3"],
            "static": {"/favicon.ico": "s/icon.ico", "/v1.2": "s/v1.2", "/s": "s"},
        }
    )
    assert made.app.shared_files == ("app.log", "var/db.sqlite3")
    assert made.served_files == {"/favicon.ico": "/srv/shop/current/s/icon.ico"}
    assert list(made.served) == ["/v1.2", "/s"]
    sites = release_files.contents(made, FACTS)
    for name in ("nginx.conf", "apache.conf"):
        assert "/srv/shop/current/s/icon.ico" in sites[name][0].decode()


def test_a_release_carries_what_runs_in_it(tmp_path: Path) -> None:
    write(tmp_path, "site.cfg.j2", text="{{ app.name }} {db.user} {db.password} {env.X}")
    write(tmp_path, "secrets", text="TOKEN=hidden\n")
    app = {
        "env_file": "secrets",
        "env": {"PLAIN": "1", "URL": "x{db.password}"},
        "setup": ["a\nb", "c"],
        "build": ["npm ci"],
        "files": {"config/site.cfg": "site.cfg.j2"},
    }
    made = settings(tmp_path, app=app, db={"kind": "postgresql"})
    found = {name: data.decode() for name, (data, _) in release_files.contents(made, FACTS).items()}
    assert (found["setup/001"], found["setup/002"]) == ("a\nb\n", "c\n")
    assert json.loads(found["build.json"])["env"] == {"FLASK_APP": "wsgi:app", "PLAIN": "1"}
    assert found["files/0"] == "shop shop {db.password} {env.X}"
    assert json.loads(found["files.json"]) == [["config/site.cfg", "0"]]
    made = settings(tmp_path, app={**app, "build_secrets": True}, db={"kind": "postgresql"})
    told = json.loads(release_files.contents(made, FACTS)["build.json"][0])
    assert told["env"]["TOKEN"] == "hidden"
    shown = str(release_files.preview(made, FACTS))
    assert "hidden" not in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ nobody }}", "UndefinedError: 'nobody' is undefined"),
        ("{% if %}", "line 1: TemplateSyntaxError"),
        ("{{ app.env['X'] }}", "UndefinedError"),
    ],
)
def test_a_template_of_a_file_that_raises_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, "a.j2", text=text)
    with pytest.raises(SettingsError) as error:
        release_files.contents(settings(tmp_path, app={"files": {"a": "a.j2"}}), FACTS)
    assert f"app.files: {tmp_path}/a.j2" in str(error.value) and said in str(error.value)
    with pytest.raises(SettingsError, match=r"app.files.a: there is no file"):
        release_files.contents(settings(tmp_path, app={"files": {"a": "b"}}), FACTS)


def test_files_are_put_into_a_release_filled_in_and_never_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = module_of("app_files")
    monkeypatch.setattr(module.shutil, "chown", lambda *_: None)
    part = tmp_path / "part"
    write(part, ".deploy/env", text='WORD="a\\"b"\nDSN="u:{db.password}"\n')
    write(part, ".deploy/database", text="DATABASE_URL postgresql+psycopg DSN\n")
    write(tmp_path, "shared/secrets.env", text='DATABASE_URL="postgresql://u:p%2Fw@h/x"\n')

    def put(listed: dict[str, bytes]) -> None:
        (part / ".deploy/files").mkdir(exist_ok=True)
        for number, data in enumerate(listed.values()):
            (part / ".deploy/files" / str(number)).write_bytes(data)
        pairs = [(name, str(number)) for number, name in enumerate(listed)]
        write(part, ".deploy/files.json", text=json.dumps(pairs))
        module.put(tmp_path, part, "", "shop", "DATABASE_URL")

    text = b"{db.password} {env.WORD} {other} {env.DSN} {env.DATABASE_URL}"
    put({"a/b.cfg": text, "raw": b"\xff{env.WORD}"})
    # As the application itself gets it: with the driver that this release has.
    url = "postgresql+psycopg://u:p%2Fw@h/x"
    assert (part / "a/b.cfg").read_text() == f'p/w a"b {{other}} u:p/w {url}'
    assert (part / "raw").read_bytes() == b"\xff{env.WORD}"
    assert (part / "raw").stat().st_mode & 0o777 == 0o640
    assert not (part / ".deploy/files").exists()
    (part / "link").symlink_to(tmp_path)
    for wrong in ({"link/x": b""}, {"a": b""}, {"new": b"{env.NOBODY}"}):
        with pytest.raises(SystemExit):
            put(wrong)
    assert not (tmp_path / "x").exists()


# --- environments


def test_a_password_of_an_index_comes_from_the_file_of_secrets(tmp_path: Path) -> None:
    asked = {"env": {"PIP_INDEX_URL": "https://ci:{deploy.PASSWORD}@h/simple"}}
    with pytest.raises(SettingsError, match=r"python.env.PIP_INDEX_URL: there is no PASSWORD in"):
        deploy_variables(settings(tmp_path, python=asked))
    write(tmp_path, ".env.deploy", text="PASSWORD=a${b}\n")
    made = settings(tmp_path, python=asked)
    assert deploy_variables(made) == {"PIP_INDEX_URL": "https://ci:a${b}@h/simple"}
    (step,) = python.wanted(made)
    assert "a${b}" not in str(step)
    with pytest.raises(SettingsError, match=r"python\.env\.PATH: belongs to the build itself"):
        deploy_variables(settings(python={"env": {"PATH": "/x"}}))


@pytest.mark.parametrize(
    ("wsgi", "packages", "found"),
    [
        ({"options": {"worker_class": "gevent"}}, [], ["gunicorn[gevent]"]),
        ({"options": {"worker_class": "gthread"}}, [], []),
        (
            {"options": {"worker_class": "gevent"}},
            ["gunicorn[gevent]>=22"],
            ["gunicorn[gevent]>=22"],
        ),
        ({"server": "uwsgi"}, ["x"], ["x"]),
    ],
)
def test_a_worker_comes_with_what_it_needs(
    wsgi: dict[str, Any], packages: list[str], found: list[str]
) -> None:
    made = settings(wsgi=wsgi, python={"packages": packages})
    text = content(python.wanted(made), "/srv/shop/procedures/environment.json")
    assert json.loads(text)["packages"] == found


def test_a_plain_url_names_no_driver_and_brings_none() -> None:
    made = settings(db={"kind": "postgresql", "driver": "none"})
    found = release_files.contents(made, FACTS)["database"][0].decode()
    assert found.split()[:2] == ["DATABASE_URL", "postgresql"]
    assert (
        json.loads(content(python.wanted(made), "/srv/shop/procedures/environment.json"))["driver"]
        == ""
    )


# --- health


@pytest.mark.parametrize(
    ("location", "leads"),
    [
        ("/login", "/login"),
        ("login?next=%2F", "/a/login?next=%2F"),
        ("/login?next=/\xe9 x", "/login?next=/%C3%A9%20x"),
        ("https://shop.test/x", "/x"),
        ("http://shop.test:8080", "/"),
        ("https://other.test/x", ""),
        ("http://[bad", ""),
    ],
)
def test_a_redirect_is_followed_on_the_same_site(location: str, leads: str) -> None:
    assert module_of("health").leads_to(location, "/a/b", "shop.test") == leads


def test_workers_follow_a_redirect_to_its_error() -> None:
    ready = module_of("ready")

    def application(environ: dict[str, str], start: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path == "/broken":
            raise RuntimeError("x")
        to = {"/": "/next", "/next": "/sick", "/loop": "/loop", "/away": "http://other.test/sick"}
        if path in to:
            start("302 FOUND", [("Location", to[path])])
        else:
            start("500 NO" if path == "/sick" else "200 OK", [])
        return [b""]

    def asked(path: str) -> Any:
        return ready.followed(application, path, "shop.test", "http")

    assert asked("/") == ("302 FOUND", ", and /sick, to which that leads, answered 500 NO")
    assert asked("/loop") == asked("/away") == ("302 FOUND", "")
    assert asked("/fine") == ("200 OK", "")


# --- what a build may try


def test_a_build_leaves_no_mark_and_no_lock_that_leads_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("precious")
    builds, tree = module_of("builds"), module_of("tree")
    (tmp_path / "Pipfile.lock").symlink_to(secret)
    for text in (None, "precious", '{"_meta": 1, "default": {}}', "[]"):
        if text is not None:
            (tmp_path / "Pipfile.lock").unlink(missing_ok=True)
            (tmp_path / "Pipfile.lock").write_text(text)
        with pytest.raises(SystemExit):
            builds._made_lock(tmp_path / "Pipfile.lock")
    (tmp_path / "Pipfile.lock").write_text('{"_meta": {}, "default": {}}')
    assert builds._made_lock(tmp_path / "Pipfile.lock") == '{"_meta": {}, "default": {}}'
    assert builds._made_lock(tmp_path / "nothing") == ""

    (tmp_path / "made").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "made/.decant-complete").symlink_to(secret)
    monkeypatch.setattr(tree.os, "setegid", lambda _: None)
    monkeypatch.setattr(tree.os, "fchown", lambda *_: None)
    monkeypatch.setattr(tree.os, "umask", lambda _: None)
    monkeypatch.setattr(tree.grp, "getgrnam", lambda _: types.SimpleNamespace(gr_gid=0))
    with pytest.raises(SystemExit):
        tree.adopt(str(tmp_path / "made"), str(tmp_path / "target"), "shop")
    assert secret.read_text() == "precious"


def test_what_a_build_prints_is_looked_at_quickly() -> None:
    compilers = module_of("compilers")
    odd = "Failed to build " + "a" * 60 + "!\n" + "not a problem with poetry but " + "a" * 100_000
    assert compilers.packages_that_failed(odd) == ()
    assert compilers.packages_that_failed("Failed to build a b c\nbuild") == ("a", "b", "c")


def test_a_list_of_submodules_includes_no_other_file(tmp_path: Path) -> None:
    write(tmp_path, "other", text='[submodule "x"]\n\tpath = theme\n\turl = https://h/x\n')
    write(tmp_path, "top/.gitmodules", text=f"[include]\n\tpath = {tmp_path}/other\n")
    top = tmp_path / "top"
    git(top, "init", "-q")
    git(top, "add", "-A")
    git(top, "commit", "-qm", "one")
    link = f"160000,{git(top, 'rev-parse', 'HEAD')},theme"
    git(top, "update-index", "--add", "--cacheinfo", link)
    git(top, "commit", "-qm", "two")
    submodules = module_of("submodules")
    with pytest.raises(SystemExit):
        list(submodules.modules(top / ".git", git(top, "rev-parse", "HEAD"), "https://h/y"))


def test_a_copy_for_a_build_has_no_file_that_may_hold_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = module_of("builds")
    monkeypatch.setattr(builds, "nobody_left", lambda _: None)
    account = types.SimpleNamespace(pw_uid=os.getuid(), pw_gid=os.getgid())
    monkeypatch.setattr(builds, "builder", lambda _: account)
    tree = tmp_path / "release"
    write(tree, "web/wsgi.py", "web/.env", "web/site.cfg", ".deploy/env")
    write(tree, ".deploy/folder", text="web\n")
    write(tree, ".deploy/files.json", text='[["site.cfg", "0"]]')
    (tmp_path / "build").mkdir()
    with builds.copied(tree, tmp_path) as copy:
        found = {str(path.relative_to(copy)) for path in copy.rglob("*")}
    assert found == {"web", "web/wsgi.py"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[project]\nname = 'my-Shop'\n", {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_MY_SHOP"}),
        (
            "[[tool.uv.index]]\nname = 'ours'\n[project]\nname = 'shop'\n",
            {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_SHOP"},
        ),
        ("[[tool.uv.index]]\nname = 'ours'\n", set()),
        ("[project]\n[build-system]\nname = 'x'\n", set()),
    ],
)
def test_a_version_is_told_to_the_project_alone(tmp_path: Path, text: str, names: set[str]) -> None:
    write(tmp_path, "pyproject.toml", text=text)
    builder = module_of("builder")
    recipe = {"packaged": True, "source": "requirements.txt"}
    asked: dict[str, Any] = {"version": "1.0", "recipe": recipe}
    found = set(builder.version_of(asked, tmp_path)) - {"POETRY_DYNAMIC_VERSIONING_OVERRIDE"}
    assert found == names
    asked["recipe"]["packaged"] = False
    assert builder.version_of(asked, tmp_path) == {}
    # A line of its requirements may be the project itself.
    for line, itself in {
        ".": True,
        "-e .": True,
        "--editable=.[prod]  # us": True,
        "./lib": False,
        "flask": False,
        ".hidden": False,
    }.items():
        write(tmp_path, "requirements.txt", text=f"flask\n{line}\n")
        found = set(builder.version_of(asked, tmp_path)) - {"POETRY_DYNAMIC_VERSIONING_OVERRIDE"}
        assert found == (names if itself else set()), line
