"""Copies that leave the server: what hosts.toml may say, what is written for them, and the program."""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from decant.errors import SettingsError
from decant.operations import backup as operations
from decant.plans import backup as plans
from decant.quoting import Secret
from decant.steps import File, Run, Unit
from decant.testing import FakeHost
from tests.unit.machine import Application, records
from tests.unit.test_procedures import module_of
from tests.unit.values import MISTAKES, flat, settings

restic, view, putting, program = map(module_of, ("restic", "shown", "put_back", "backup"))

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n"
SFTP: dict[str, Any] = {
    "to": "sftp://keeper@storage.test:2222/backups/shop",
    "identity": "key",
    "host_key": "ssh-ed25519 AAAAC3",
}
TO = "s3://storage.test/bucket/shop"
S3: dict[str, Any] = {
    "to": TO,
    "env": {"AWS_SECRET_ACCESS_KEY": "{deploy.S3_KEY}"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what hosts.toml names."""
    (tmp_path / "key").write_text(KEY)
    (tmp_path / ".env.deploy").write_text('BACKUP_PASSWORD="it\'s $secret"\nS3_KEY=k\n')
    return tmp_path


@pytest.mark.parametrize(
    ("backup", "said"),
    [
        ({"to": "sftp://storage.test/backups"}, "backup.identity: is missing"),
        ({**SFTP, "host_key": ""}, "backup.host_key: is missing"),
        ({**S3, "identity": "key"}, "backup.identity: goes with sftp://"),
        ({**S3, "env": {"RESTIC_PASSWORD": "x"}}, "backup.env.RESTIC_PASSWORD: is this tool's"),
        ({"to": "/mnt/backups"}, "sftp://user@host/folder or s3://host/bucket/folder"),
        ({"to": "s3://storage.test"}, "s3://host/bucket/folder"),
        ({"to": "sftp://storage.test/../x y"}, "sftp://user@host/folder"),
        ({**S3, "when": ""}, "a calendar such as daily"),
        ({**S3, "when": "daily\nExecStart=/bin/sh"}, "a calendar such as daily"),
        ({**S3, "keep": 0}, "greater than or equal to 1"),
        ({**S3, "heartbeat": "file:///etc/passwd"}, "a URL"),
        ({**SFTP, "host_key": "ssh-ed25519 AAAA\nmore"}, "a public host key"),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(backup: dict[str, Any], said: str) -> None:
    with pytest.raises(MISTAKES, match=said.replace("(", r"\(").replace("$", r"\$")):
        settings(backup=backup)


@pytest.mark.parametrize(
    ("to", "repository"),
    [
        ("sftp://keeper@storage.test:2222/backups/shop", "sftp:storage.test:/backups/shop"),
        ("s3://storage.test/bucket/shop", "s3:https://storage.test/bucket/shop"),
        ("s3+http://10.0.0.9:9000/bucket", "s3:http://10.0.0.9:9000/bucket"),
    ],
)
def test_a_storage_has_a_name_for_restic(to: str, repository: str) -> None:
    assert plans.repository(to) == repository


def test_what_opens_the_storage_is_roots_and_shown_nowhere(folder: Path) -> None:
    steps = flat(plans.install(settings(folder, backup=SFTP)))
    files = {step.path: step for step in steps if isinstance(step, File)}
    env = files["/etc/decant/backup/shop/env"]
    assert "RESTIC_PASSWORD='it'\"'\"'s $secret'" in env.data.decode()
    assert "SFTP_LOGIN=keeper@storage.test\nSFTP_PORT=2222" in env.data.decode()
    known = files["/etc/decant/backup/shop/known_hosts"]
    assert known.content == "[storage.test]:2222 ssh-ed25519 AAAAC3\n"
    for name in ("env", "key", "wanted.json"):
        file = files[f"/etc/decant/backup/shop/{name}"]
        assert (type(file.content), file.mode, file.owner) == (Secret, 0o600, "root:root")
    timers = [step.name for step in steps if isinstance(step, Unit)]
    assert timers == ["decant-backup@shop.timer", "decant-drill@shop.timer"]


def test_without_a_drill_there_is_no_timer_for_it(folder: Path) -> None:
    steps = flat(plans.install(settings(folder, backup={**S3, "drill": ""})))
    assert [step.name for step in steps if isinstance(step, Unit)] == ["decant-backup@shop.timer"]
    assert "decant-drill@shop.timer is off" in [str(step) for step in steps]


def test_without_a_storage_its_keys_go() -> None:
    (removed,) = plans.install(settings())
    assert isinstance(removed, Run)
    assert removed.unless == ("test", "!", "-e", "/etc/decant/backup/shop")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (".env.deploy", "", "backup.password: there is no BACKUP_PASSWORD in"),
        ("key", "ssh-ed25519 AAAA me", "backup.identity: .*key is no private key"),
        ("key", None, "backup.identity: .*key cannot be read"),
        ("key", KEY.replace("abc", "b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ng=="), "has a passphrase"),
        ("key", KEY.replace("abc", "Proc-Type: 4,ENCRYPTED"), "has a passphrase"),
        (".env.deploy", "BACKUP_PASSWORD=\n", "backup.password: should be one line"),
    ],
)
def test_what_is_not_there_is_said(folder: Path, name: str, text: str | None, said: str) -> None:
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(SettingsError, match=said):
        plans.install(settings(folder, backup=SFTP))


# --- the program


class FakeRestic:
    """A storage that says what the test says."""

    def __init__(self, copying: "Copying") -> None:
        self.copying = copying
        self.where = "s3://there"
        self.wanted: dict[str, Any] = {"keep": 3, "heartbeat": ""}
        self.real = restic.Restic.copies

    def copies(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.real(self)
        return found

    @property
    def name(self) -> str:
        return str(self.copying.name)

    def stop(self) -> None:
        pass

    def run(self, *words: str, binds: tuple[str, ...] = (), limit: int = 0) -> str:  # noqa: ARG002
        copying, word = self.copying, words[0]
        copying.asked.append(word)
        copying.words, copying.binds = words, binds
        if word in copying.fails:
            raise records.Failure(copying.fails[word])
        if word == "snapshots":
            when = "2026-11-30T08:31:02.123456789-05:00"
            found = [{"short_id": "ab12", "time": when, "tags": [each]} for each in copying.servers]
            return json.dumps(found)
        if word == "stats":
            return json.dumps({"total_size": int(copying.fails.get("bytes", 10))})
        if word == "restore":
            place = next(each for each in binds if each.startswith("BindPaths="))
            made = Path(place.removeprefix("BindPaths=").partition(":")[0]) / "mnt/snapshot"
            made.mkdir(parents=True)
            (made / "database.sqlite3").write_text("rows")
            (made / "manifest.json").write_text(copying.fails.get("manifest", copying.manifest))
        if word == "backup":
            copying.manifest = (copying.snapshot / "manifest.json").read_text()
            summary = {"message_type": "summary", "snapshot_id": "ab12cd34ef", "files": 1}
            return f"not JSON\n{json.dumps({**summary, 'total_files_processed': 7})}\n"
        return ""


class Copying(program.Backup):  # type: ignore[misc,name-defined]
    """Copies in which restic and the database are what the test says."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.restic = FakeRestic(self)
        self.asked: list[str] = []
        self.words: tuple[str, ...] = ()
        self.binds: tuple[str, ...] = ()
        self.fails: dict[str, str] = {}
        self.there = True
        self.manifest = ""
        self.servers = [program._server()]

    def _database(self, action: str, *words: str, lock: int = -1) -> str:  # noqa: ARG002
        self.asked.append(action)
        if action in self.fails:
            raise records.Failure(self.fails[action])
        if action == "dump":
            Path(words[0]).write_text("rows")
        return {"suffix": ".sqlite3.gz", "status": '{"tables": [["entry", 3]]}'}.get(action, "")

    def _asks(self, question: str) -> bool:  # noqa: ARG002
        return self.there


@pytest.fixture
def copying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copying:
    app = Application(tmp_path / "shop")
    conf = app.root / "procedures/app.conf"
    me = os.environ.get("USER") or "root"
    monkeypatch.setattr(program.pwd, "getpwnam", lambda _: program.pwd.getpwuid(os.getuid()))
    conf.write_text(f"{conf.read_text()}user={me}\ndb_path={app.root}/shared/instance/shop.db\n")
    monkeypatch.setattr(restic, "STORAGES", tmp_path)
    monkeypatch.setattr(program, "shown", lambda *_: contextlib.nullcontext())
    (tmp_path / "shop/wanted.json").write_text(
        json.dumps({"where": "s3://there", "keep": 3, "heartbeat": ""})
    )
    return Copying(app.root)


def test_a_copy_is_the_dump_shared_and_what_tells_of_the_release(
    copying: Copying, capsys: pytest.CaptureFixture[str]
) -> None:
    copying.now()
    assert copying.asked == [
        "cat", "unlock", "snapshots", "suffix", "room", "dump", "status", "backup", "forget",
        "snapshots",
    ]  # fmt: skip
    told = json.loads(copying.manifest)
    assert (told["application"], told["dump"], told["tables"]) == (
        "shop", "database.sqlite3", [["entry", 3]],
    )  # fmt: skip
    assert told["release"] == copying.folder.current
    assert not copying.snapshot.exists()
    noted = program.recorded(copying.record)["backup"]
    assert (noted["copy"], noted["files"], noted["kept"]) == ("ab12cd34", 7, 1)
    assert capsys.readouterr().out == "copied to s3://there: 7 files\n"


def test_the_database_itself_is_no_part_of_a_copy(copying: Copying) -> None:
    (copying.snapshot).mkdir()
    copying.manifest = ""
    (copying.snapshot / "manifest.json").write_text("{}")
    copying._copy()
    for ending in ("", "-wal", "-shm", "-journal"):
        assert f"--exclude=/mnt/shared/instance/shop.db{ending}" in copying.words
    # What restic reads is a view in which no link is followed.
    assert f"BindReadOnlyPaths={copying.view}:/mnt/shared" in copying.binds


def test_before_the_first_row_there_is_nothing_to_dump(copying: Copying) -> None:
    copying.there = False
    copying.now()
    assert json.loads(copying.manifest)["dump"] == ""
    assert "dump" not in copying.asked


def test_a_storage_without_copies_is_made_ready_and_one_that_cannot_be_opened_is_said(
    copying: Copying,
) -> None:
    copying.fails["cat"] = "unable to open config file: no such file"
    copying.now()
    assert copying.asked[:3] == ["cat", "init", "unlock"]
    # Where copies were before, no other place is made for them.
    copying.asked.clear()
    with pytest.raises(records.Failure, match="it had copies before, so no new place is made"):
        copying.now()
    assert copying.asked == ["cat"]
    copying.fails |= {"cat": "wrong password or no key found", "init": "already there"}
    with pytest.raises(records.Failure, match=r"^wrong password or no key found$"):
        copying.now()
    noted = program.recorded(copying.record)
    assert noted["failed backup"]["cause"] == "wrong password or no key found"
    assert noted["backup"]["copy"] == "ab12cd34"  # the last one that there is
    copying.fails.clear()
    copying.now()
    assert "failed backup" not in program.recorded(copying.record)


def test_two_do_not_copy_at_once(copying: Copying) -> None:
    with copying._alone(0), pytest.raises(records.Failure, match="another command, backup or"):
        copying.drill()
    assert "another command" in program.recorded(copying.record)["failed drill"]["cause"]


def test_a_drill_fetches_the_newest_copy_and_tries_its_dump(copying: Copying) -> None:
    copying.now()
    copying.asked.clear()
    copying.drill()
    assert copying.asked == ["snapshots", "stats", "restore", "room", "verify"]
    assert not copying.tried.exists() and not copying.fetched.exists()
    assert program.recorded(copying.record)["drill"]["copy"] == "ab12"


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ({"restore": "ciphertext verification failed"}, "ciphertext verification failed"),
        ({"verify": "no such table"}, "no such table"),
        ({"bytes": str(1 << 60)}, "no room to fetch the copy"),
        ({"manifest": '{"application": "blog"}'}, "is of blog, not of shop"),
        ({"manifest": "torn"}, "says nothing of itself"),
        ({"snapshots": "gone"}, "gone"),
        ({"room": "no room for the trial"}, "no room for the trial"),
    ],
)
def test_a_copy_that_does_not_come_back_is_noted_and_nothing_is_left(
    copying: Copying, fails: dict[str, str], said: str
) -> None:
    copying.now()
    copying.fails = fails
    with pytest.raises(records.Failure, match=said):
        copying.drill()
    assert said in program.recorded(copying.record)["failed drill"]["cause"]
    assert not copying.tried.exists()


def test_a_dump_that_is_not_what_was_copied_is_no_copy(copying: Copying) -> None:
    copying.now()
    copying.fails = {"manifest": copying.manifest.replace(json.loads(copying.manifest)["sum"], "0")}
    with pytest.raises(records.Failure, match="is not whole"):
        copying.fetch("ab12", copying.fetched)


def test_what_is_missing_is_moved_and_the_application_unpacks_the_rest(
    copying: Copying, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged: list[str] = []
    monkeypatch.setattr(putting, "merge", lambda _, entry, __: merged.append(entry.name))
    source, shared = copying.fetched / "mnt/shared", copying.root / "shared"
    for place in (source / "gone", source / "there", shared / "there"):
        place.mkdir(parents=True)
    for file in (source / "secrets.env", shared / "secrets.env", source / "gone/a", source / "b"):
        file.write_text(str(file))
    (source / "there/new").write_text("new")
    snapshot = copying.fetched / "mnt/snapshot"
    snapshot.mkdir()
    (snapshot / "manifest.json").write_text('{"account": [1, 1]}')
    (shared / "b").symlink_to("/etc")
    copying.put()
    assert (shared / "gone/a").exists()
    assert (shared / "secrets.env").read_text() == str(shared / "secrets.env")
    assert (shared / "b").is_symlink()
    # A folder of root's is gone into, as the application may not make anything in it.
    roots = os.getuid() == 0
    assert merged == (["b"] if roots else ["b", "there"])
    assert (shared / "there/new").exists() == roots


def test_the_heartbeat_hears_of_copies_as_long_as_the_drill_held(
    copying: Copying, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    def hear(url: str, timeout: int) -> Any:
        heard.append(url)
        if "down" in url:
            raise OSError("refused")
        return (Path("/dev/null")).open()

    monkeypatch.setattr(program.urllib.request, "urlopen", hear)
    copying.restic.wanted["heartbeat"] = "https://beat.test/1"
    copying.now()
    copying.fails = {"verify": "torn"}
    with pytest.raises(records.Failure, match="torn"):
        copying.drill()
    copying.fails = {}
    copying.now()
    assert heard == ["https://beat.test/1"]
    copying.drill()
    copying.restic.wanted["heartbeat"] = "https://down.test"
    with pytest.raises(records.Failure, match=r"backup\.heartbeat failed: OSError") as told:
        copying.now()
    assert "down.test" not in str(told.value)  # the URL is a secret


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("a\nFatal: no key found\n\n", "no key found"),
        ("Fatal: one\nFatal: two", "two"),
        ("only this\n", "only this"),
        (
            "subprocess ssh: @@@@\nsubprocess ssh: Host key verification failed.\nFatal: EOF",
            "Host key verification failed.",
        ),
        (
            '{"message_type":"exit_error","code":12,"message":"Fatal: wrong password"}',
            "wrong password",
        ),
        ("", ""),
    ],
)
def test_the_cause_is_what_restic_calls_fatal(text: str, cause: str) -> None:
    assert restic.cause(text) == cause


@pytest.mark.parametrize(
    ("errors", "vanished"),
    [
        ([{"Op": "lstat", "Path": "/mnt/shared/a", "Err": 2}], True),
        ([{"Op": "open", "Path": "/mnt/shared/a", "Err": 40}], True),
        ([{"message": "open /mnt/shared/a: no such file or directory"}], True),
        ([{"Op": "lstat", "Err": 2}, {}], True),
        ([{"Op": "lstat", "Err": 2}, {"Op": "read", "Err": 5}], False),
        ([{"message": "input/output error"}], False),
        ([], False),
    ],
)
def test_a_file_that_went_away_meanwhile_fails_no_copy(
    errors: list[dict[str, Any]], vanished: bool
) -> None:
    lines = [json.dumps({"message_type": "error", "error": each}) for each in errors]
    text = "\n".join([*lines, "Warning: at least one source file could not be read"])
    assert restic.has_vanished(text) == vanished


def test_an_application_without_a_storage_is_told_so(
    copying: Copying, capsys: pytest.CaptureFixture[str]
) -> None:
    (restic.STORAGES / "shop/wanted.json").unlink()
    assert program.main([str(copying.root), "now"]) == 1
    assert "[backup] names no storage" in capsys.readouterr().err


def test_a_copy_of_another_server_is_not_copied_over_unless_this_one_has_its_place(
    copying: Copying,
) -> None:
    copying.servers = ["server-other", program._server()]
    with pytest.raises(records.Failure, match=r"has copies of another server, .* 13:31:02 UTC"):
        copying.now()
    assert "backup" not in copying.asked
    copying.now(take_over=True)
    copying.now()  # from here on it is known
    assert copying.asked.count("backup") == 2


def test_a_server_that_was_rebuilt_has_the_place_of_the_one_whose_copy_it_got(
    copying: Copying, capsys: pytest.CaptureFixture[str]
) -> None:
    copying.now()
    copying.servers = ["server-other"]
    copying.give("latest")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["dump"] == "database.sqlite3"
    copying.now()


def test_an_empty_server_copies_nothing_over_what_there_is(copying: Copying) -> None:
    (copying.root / "current").unlink()
    with pytest.raises(records.Failure, match="nothing is deployed here"):
        copying.now()
    assert copying.asked == []


def test_a_database_that_is_gone_is_no_good_copy(copying: Copying) -> None:
    copying.now()
    copying.there = False
    with pytest.raises(records.Failure, match="had a database, and there is none any more"):
        copying.now()


def test_the_secrets_of_a_copy_go_over_others_when_a_server_is_rebuilt(copying: Copying) -> None:
    source, shared = copying.fetched / "mnt/shared", copying.root / "shared"
    (copying.fetched / "mnt/snapshot").mkdir(parents=True)
    (copying.fetched / "mnt/snapshot/manifest.json").write_text('{"account": [1, 1]}')
    source.mkdir()
    (source / "secrets.env").write_text("of the copy")
    (shared / "secrets.env").write_text("made since")
    copying.put(secrets=True)
    assert (shared / "secrets.env").read_text() == "of the copy"
    assert (shared / "secrets.env.before").read_text() == "made since"


def test_who_holds_the_lock_while_a_database_is_dumped_is_said(tmp_path: Path) -> None:
    lock = tmp_path / "shop.lock"
    with program._held(lock, 0, "the backup of shop"):
        assert (tmp_path / "shop.lock.details").read_text().startswith("the backup of shop since ")
    assert not (tmp_path / "shop.lock.details").exists()


def test_what_is_mounted_below_shared_is_shown_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = ["/", "/srv/a/shared/b\\040c/d", "/srv/a/shared/b\\040c", "/srv/a/shared2", "/srv/a"]
    file = tmp_path / "mountinfo"
    file.write_text("".join(f"1 2 0:3 / {point} rw - ext4 /dev/x rw\n" for point in points))
    monkeypatch.setattr(view, "MOUNTS", file)
    below = view.mounted_below(Path("/srv/a/shared"))
    assert [str(each) for each in below] == ["/srv/a/shared/b c", "/srv/a/shared/b c/d"]


# --- what a person is told


@pytest.mark.parametrize(
    ("noted", "said"),
    [
        ({}, "no copy yet: fab backup.now; none proved yet: fab backup.check"),
        (None, "no copy yet: fab backup.now; none proved yet: fab backup.check"),
        (
            {"backup": {"ago": 7200, "where": TO}, "drill": {"ago": 300_000, "where": TO}},
            "copied 2 hours ago; proved to come back 3 days ago",
        ),
        ({"backup": {"ago": 60, "where": "s3://before"}}, "no copy yet: fab backup.now"),
        (
            {"failed backup": {"ago": 60, "cause": "no route"}},
            "the backup 1 minutes ago failed: no route: fab backup.now",
        ),
    ],
)
def test_status_says_how_old_the_last_proved_copy_is(
    folder: Path, noted: dict[str, Any] | None, said: str
) -> None:
    text = "torn"
    if noted is not None:
        now = time.time()
        text = json.dumps({what: {**how, "time": now - how["ago"]} for what, how in noted.items()})
    host = FakeHost(settings(folder, backup=S3), texts={"/srv/shop/backups/backup.json": text})
    assert said in operations.summary(host)


def test_a_dump_that_is_not_packed_is_restored_like_any_other(tmp_path: Path) -> None:
    file = tmp_path / "database.sqlite3"
    file.write_bytes(b"SQLite format 3")
    assert module_of("database").kind_of(str(file)) == "sqlite"
    with module_of("engine").unpacked(file) as dump:
        assert dump.read(6) == b"SQLite"
