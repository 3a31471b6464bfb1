"""What a deploy to Heroku does by what Heroku answers; tests/platforms shows it with a server."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from decant import git
from decant.config import source
from decant.config.models import Settings
from decant.errors import DeployError, SettingsError
from decant.operations.platforms import chosen, heroku, heroku_app
from decant.output import Output
from decant.platforms import health
from decant.platforms import heroku as client
from tests.unit.values import settings


class FakeApp:
    """An app in memory, whose answers the test changes."""

    def __init__(self) -> None:
        self.name, self.path = "shop", "/apps/shop"
        self.there: dict[str, Any] | None = {
            "web_url": "https://shop.test/",
            "maintenance": False,
            "git_url": "https://git.test/shop.git",
        }
        self.api = type("Api", (), {"key": "secret"})()
        self.config = {"SECRET_KEY": "k", "FLASK_APP": "wsgi:app"}
        self.made: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.fails: set[str] = set()
        self.counts = {"web": 1}

    def _release(self, slug: str | None, what: str, status: str = "succeeded") -> dict[str, Any]:
        version = len(self.made) + 1
        release = {
            "id": f"r{version}",
            "version": version,
            "status": status,
            "current": False,
            "slug": {"id": slug} if slug else None,
            "description": what,
            "created_at": "2026-12-01",
            "output_stream_url": None,
        }
        self.made.append(release)
        if status == "succeeded":
            for each in self.made:
                each["current"] = each is release
        return release

    def about(self) -> dict[str, Any] | None:
        return self.there

    def variables(self) -> dict[str, str]:
        return self.config

    def set_variables(self, changes: dict[str, str]) -> None:
        self.calls.append("set")
        self.config |= changes
        if "no release" not in self.fails:
            now = next((each for each in self.made if each["current"]), None)
            slug = now["slug"]["id"] if now and now["slug"] else None
            self._release(slug, "Set", "failed" if "set" in self.fails else "succeeded")

    def releases(self, count: int = 15) -> list[dict[str, Any]]:
        return self.made[::-1][:count]

    def builds(self) -> list[dict[str, Any]]:
        return self.sent

    def build(self, data: bytes, version: str) -> dict[str, Any]:
        assert data
        self.calls.append("build")
        slug, failed = f"s{len(self.sent)}", "build" in self.fails
        status = "failed" if "release" in self.fails else "succeeded"
        release = None if failed else self._release(slug, "Deploy", status)
        build = {
            "id": f"b{len(self.sent)}",
            "status": "failed" if failed else "succeeded",
            "slug": {"id": slug},
            "source_blob": {"version": version},
            "release": release and {"id": release["id"]},
            "output_stream_url": "stream",
        }
        self.sent.append(build)
        return build

    def built(self, build: dict[str, Any]) -> dict[str, Any]:
        return build

    def released(self, id: str) -> dict[str, Any]:
        return next(each for each in self.made if each["id"] == id)

    def release_again(self, id: str) -> dict[str, Any]:
        self.calls.append(f"again {id}")
        slug = (self.released(id)["slug"] or {}).get("id")
        return self._release(
            slug, f"Rollback to v{id[1:]}", "failed" if "again" in self.fails else "succeeded"
        )

    def formation(self) -> dict[str, int]:
        return self.counts

    def scale(self, counts: dict[str, int]) -> None:
        self.counts |= counts

    def make(self, region: str) -> None:
        self.calls.append(f"make {region}")

    def addons(self) -> tuple[str, ...]:
        return ("heroku-redis:mini",)

    def add(self, plan: str) -> None:
        self.calls.append(f"add {plan}")

    def domains(self) -> dict[str, str]:
        return {"old.test": "x"}

    def add_domain(self, name: str) -> str:
        return f"{name}.dns.test"

    def run(self, command: str) -> str:
        self.calls.append(command)
        return "run.1"

    def logs(self, lines: int, follow: bool, dyno: str = "") -> Iterator[str]:
        yield f"{lines} {follow} {dyno}"

    def maintain(self, on: bool) -> None:
        self.calls.append(f"maintain {on}")

    def destroy(self) -> None:
        self.calls.append("destroy")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> FakeApp:
    made = FakeApp()
    for module in (heroku, heroku_app):
        monkeypatch.setattr(module, "App", lambda *_: made)
    monkeypatch.setattr(client, "api", lambda: None)
    monkeypatch.setattr(health, "problem", lambda *_: "")
    monkeypatch.setattr(health, "answer", lambda *_: "")
    monkeypatch.setattr(client, "told", lambda url: iter(["a line"] if url else []))
    return made


@pytest.fixture
def output() -> Output:
    made = Output("heroku")
    made.stream = io.StringIO()
    return made


def said(output: Output) -> str:
    assert isinstance(output.stream, io.StringIO)
    return output.stream.getvalue()


def shop(folder: Path, **sections: Any) -> Settings:
    source = folder / "shop"
    source.mkdir(exist_ok=True)
    (source / "requirements.txt").write_text("gunicorn\n")
    given = {"db": {"kind": "none"}, **sections}
    given["app"] = {"name": "shop", "source": "shop", **given.get("app", {})}
    return settings(folder, **given).model_copy(update={"platform": "heroku"})


def test_the_second_run_builds_nothing(app: FakeApp, output: Output, tmp_path: Path) -> None:
    first = heroku.deploy(shop(tmp_path), output)
    assert (first.result, first.release, app.calls) == ("good", "v1", ["build"])
    second = heroku.deploy(shop(tmp_path), output)
    assert (second.result, second.release, app.calls) == ("unchanged", "v1", ["build"])
    assert second.document()["platform"] == "heroku"
    third = heroku.deploy(shop(tmp_path, app={"env": {"A": "b"}}), output)
    assert (third.result, third.variables, app.calls) == ("good", ("A",), ["build", "set"])
    (tmp_path / "shop/new.py").touch()
    assert heroku.deploy(shop(tmp_path), output).release == "v3"


@pytest.mark.parametrize(
    ("fails", "cause"),
    [
        ("build", r"the build failed \(failed\); what served before serves on"),
        ("release", r"the release phase of v2 failed \(failed\); what served before serves on"),
        ("set", "v2, with the new variables, failed in its release phase"),
    ],
)
def test_what_fails_is_told_by_where(
    app: FakeApp, output: Output, tmp_path: Path, fails: str, cause: str
) -> None:
    heroku.deploy(shop(tmp_path), output)
    app.fails = {fails}
    (tmp_path / "shop/new.py").touch()
    changed = {"env": {"A": "b"}} if fails == "set" else {}
    with pytest.raises(DeployError, match=cause):
        heroku.deploy(shop(tmp_path, app=changed), output)


@pytest.mark.parametrize(
    ("before", "fails", "cause"),
    [
        (True, "", "ill; v2 was put back as v5"),
        (True, "again", "ill; v2 could not be released again"),
        (False, "", "ill; nothing served before"),
    ],
)
def test_one_that_is_not_well_goes_back(
    app: FakeApp,
    output: Output,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: bool,
    fails: str,
    cause: str,
) -> None:
    made = shop(tmp_path, app={"env": {"A": "b"}})
    if before:
        heroku.deploy(made, output)
    monkeypatch.setattr(health, "problem", lambda *_: "ill")
    app.fails = {fails}
    (tmp_path / "shop/new.py").touch()
    # Other variables make a release, too; what is put back is the one of before, with its own.
    made = shop(tmp_path, app={"env": {"A": "c"}})
    with pytest.raises(DeployError, match=cause):
        heroku.deploy(made, output)
    assert app.calls[-1] == ("again r2" if before else "build")


def test_behind_the_maintenance_page_nobody_is_asked(
    app: FakeApp, output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "problem", lambda *_: "503")
    assert app.there
    app.there["maintenance"] = True
    assert heroku.deploy(shop(tmp_path), output).result == "good"
    assert "was not asked for health" in said(output)


def test_variables_that_make_no_release_are_not_waited_for(
    app: FakeApp, output: Output, tmp_path: Path
) -> None:
    app.fails = {"no release"}
    done = heroku.env(shop(tmp_path, app={"env": {"A": "b"}}), output, dry=False)
    assert (done.result, done.release) == ("good", "")
    assert heroku.env(shop(tmp_path), output, dry=False).result == "unchanged"
    dry = heroku.env(shop(tmp_path, app={"env": {"B": "b"}}), output, dry=True)
    assert dry.variables == ("B",) and "B" not in app.config


def test_a_preview_calls_nothing_that_changes(app: FakeApp, output: Output, tmp_path: Path) -> None:
    made = shop(tmp_path, app={"env": {"A": "b"}}, tls={"kind": "none"})
    heroku.preview(made, output)
    assert app.calls == []
    assert "Procfile: rendered\nweb: gunicorn wsgi:app" in said(output).replace("[heroku] ", "")
    assert "would set A (secret)" in said(output) and "would send 3 files" in said(output)
    assert "tls.kind: Heroku has no such setting" in said(output)
    heroku.deploy(made, output)
    heroku.preview(made, output)
    assert "has this source already" in said(output)


def test_everything_that_is_refused_is_said_at_once(tmp_path: Path, app: FakeApp) -> None:
    made = shop(tmp_path, app={"name": "x"}, processes={"web": {"command": "x"}})
    (tmp_path / "shop/uv.lock").touch()
    with pytest.raises(SettingsError) as error:
        heroku.made(made)
    assert "exactly one of them" in str(error.value) and "is no name of an app" in str(error.value)
    assert "processes.web: Heroku's own name" in str(error.value)
    app.there = None
    (tmp_path / "shop/uv.lock").unlink()
    with pytest.raises(DeployError, match=r"there is no app shop yet; run: fab heroku\.init"):
        heroku.deploy(shop(tmp_path), Output("heroku"))


def test_processes_are_as_many_as_hosts_toml_says(
    app: FakeApp, output: Output, tmp_path: Path
) -> None:
    made = shop(tmp_path, processes={"worker": {"command": "work", "count": 2}})
    heroku.deploy(made, output)
    assert app.counts == {"web": 1, "worker": 2}
    assert "processes: worker: 2" in said(output)


def test_a_rollback_goes_to_other_code_or_to_what_is_named(
    app: FakeApp, output: Output, tmp_path: Path
) -> None:
    heroku.deploy(shop(tmp_path), output)
    with pytest.raises(DeployError, match="there is no release before the current one: v1"):
        heroku.rollback(shop(tmp_path), output)
    (tmp_path / "shop/new.py").touch()
    heroku.deploy(shop(tmp_path), output)
    heroku.env(shop(tmp_path, app={"env": {"A": "b"}}), output, dry=False)
    assert heroku.rollback(shop(tmp_path), output).release == "v4"
    assert app.calls[-1] == "again r1"
    with pytest.raises(DeployError, match="there is no release before"):
        heroku.rollback(shop(tmp_path), output)  # v2 was left by it
    heroku.rollback(shop(tmp_path), output, "v2")
    assert app.calls[-1] == "again r2"
    with pytest.raises(DeployError, match="there is no release v9"):
        heroku.rollback(shop(tmp_path), output, "v9")
    app.fails = {"again"}
    with pytest.raises(DeployError, match="failed in its release phase"):
        heroku.rollback(shop(tmp_path), output, "v1")


# --- beside its deploys


def test_an_app_is_made_as_far_as_it_is_missing(
    app: FakeApp, output: Output, tmp_path: Path
) -> None:
    proxy = {"domains": ["new.test", "old.test"]}
    addons = {"addons": ["heroku-redis", "heroku-postgresql:mini"]}
    made = shop(tmp_path, proxy=proxy, heroku=addons)
    heroku_app.init(made, output, dry=True)
    assert app.calls == []
    heroku_app.init(made, output, dry=False)
    assert app.calls == ["add heroku-postgresql:mini"]
    assert "new.test: let its DNS lead to new.test.dns.test" in said(output)
    assert "old.test" not in said(output)
    app.there = None
    heroku_app.init(made, output, dry=True)
    heroku_app.init(made, output, dry=False)
    assert "make eu" in app.calls


def test_its_state_and_what_it_logs(
    app: FakeApp, output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop(tmp_path)
    assert heroku_app.status(made)["why"] == "nothing is released yet"
    heroku.deploy(made, output)
    found = heroku_app.status(made)
    assert (found["healthy"], found["releases"][0]["current"]) == (True, True)
    assert list(heroku_app.logs(made, 5, True)) == ["5 True "]
    assert list(heroku_app.run(made, "flask routes")) == ["0 True run.1"]
    monkeypatch.setattr(
        app, "logs", lambda *_, **__: iter(["x: Process exited with status 0", "y"])
    )
    assert len(list(heroku_app.run(made, "true"))) == 1
    monkeypatch.setattr(app, "logs", lambda *_, **__: iter(["x: Process exited with status 4"]))
    with pytest.raises(DeployError, match="ended with exit code 4"):
        list(heroku_app.run(made, "false"))
    heroku_app.maintain(made, True)
    assert app.calls[-1] == "maintain True"


def test_an_app_is_taken_away_by_its_name(
    app: FakeApp, output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeployError, match="is not shop; nothing was done"):
        heroku_app.destroy(shop(tmp_path), output, "other")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(DeployError, match="say which app: --yes shop"):
        heroku_app.destroy(shop(tmp_path), output, "")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "shop")
    heroku_app.destroy(shop(tmp_path), output, "")
    assert app.calls == ["destroy"]


def test_a_push_waits_for_the_release_that_it_makes(
    app: FakeApp, output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop(tmp_path)
    with pytest.raises(DeployError, match="pushes a commit of a local repository"):
        heroku_app.push(made, output, dry=False)
    sent = type("Sent", (), {"is_commit": True, "label": "one", "folder": "f", "commit": "c"})()
    monkeypatch.setattr(source, "find", lambda _: sent)
    status = iter(["", "succeeded", "failed"])

    def push(*words: str) -> None:
        assert words == ("f", "https://git.test/shop.git", "c", "refs/heads/main", "secret")
        if how := next(status):
            app._release("s", "Deploy", how)

    monkeypatch.setattr(git, "push", push)
    heroku_app.push(made, output, dry=True)
    heroku_app.push(made, output, dry=False)
    assert "nothing was released: one is there already" in said(output)
    heroku_app.push(made, output, dry=False)
    assert "v1: one" in said(output)
    with pytest.raises(DeployError, match="the release phase of v2 failed"):
        heroku_app.push(made, output, dry=False)


def test_a_key_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEROKU_API_KEY", "quiet\n")
    assert client.api().headers["Authorization"] == "Bearer quiet"
    monkeypatch.setenv("HEROKU_API_KEY", "quiet\nword")
    with pytest.raises(DeployError, match="no line of printable letters") as error:
        client.api()
    assert "quiet" not in str(error.value)


def test_one_application_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wsgi = '[wsgi]\napp = "wsgi:app"\n[heroku.wsgi]\nthreads = 2\n'
    (tmp_path / "hosts.toml").write_text(
        f'{wsgi}[apps.a.app]\nsource = "a"\n[apps.b.app]\nsource = "b"\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECANT_APP", "b")
    found = chosen.settings_for("heroku")
    assert (found.app.name, found.wsgi.threads) == ("b", 2)
    monkeypatch.setenv("DECANT_APP", "a,b")
    with pytest.raises(DeployError, match="one application at a time: DECANT_APP=a"):
        chosen.settings_for("heroku")
