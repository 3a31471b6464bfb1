"""A folder of somebody else: what looks at it runs nothing of it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from decant.config import files, inventory, source
from decant.errors import SettingsError
from decant.plans.rendering import SERVER, render
from tests.unit.values import settings

HOSTS = '[app]\nname = "shop"\nsource = "."\n[wsgi]\napp = "wsgi:app"\n'


def git(folder: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@localhost", *words],
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize(
    "text",
    [
        '{{ cycler.__init__.__globals__.os.system("touch OWNED") }}',
        '{{ "".__class__.__mro__[1].__subclasses__() }}',
        '{{ settings.folder.joinpath("OWNED").write_text("x") }}',
        '{{ settings.folder.joinpath("hosts.toml").read_text() }}',
        '{{ settings.folder.joinpath("hosts.toml").unlink() }}',
        "{{ settings.model_copy() }}{{ settings.app.model_dump_json() }}",
        '{{ lipsum.__globals__["os"].popen("touch OWNED").read() }}',
        '{{ "{0.__class__}".format(settings) }}',
        '{{ settings.app.env.update({"A": "1"}) }}',
        "{% include '../hosts.toml' %}",
        "{{ self.__init__.__globals__ }}",
        '{{ (settings.folder | string | list).append("x") }}',
        "{{ range(10000000) | list | length }}",
    ],
)
def test_a_strangers_template_calls_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "hosts.toml").write_text(HOSTS)
    (tmp_path / "templates/nginx").mkdir(parents=True)
    (tmp_path / "templates/nginx/main.conf.j2").write_text(
        text.replace("OWNED", str(tmp_path / "owned"))
    )
    with pytest.raises((SettingsError, OverflowError)):
        render("nginx/main.conf.j2", settings(tmp_path))
    assert not (tmp_path / "owned").exists()
    assert (tmp_path / "hosts.toml").read_text() == HOSTS


def test_a_users_template_lays_out_what_it_likes(tmp_path: Path) -> None:
    (tmp_path / "templates/nginx").mkdir(parents=True)
    text = (
        "{% macro shout(word) %}{{ word.upper() }}{% endmacro %}{% for item in range(2) %}{{"
        " loop.cycle('a', 'b') }}{{ shout(app.name) }}{% endfor %}{{ namespace(x=1).x }}"
    )
    (tmp_path / "templates/nginx/main.conf.j2").write_text(text)
    assert render("nginx/main.conf.j2", settings(tmp_path)) == "aSHOPbSHOP1"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A repository whose configuration, hooks and attributes name programs."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "wsgi.py").write_text("app = 1\n")
    (folder / ".gitattributes").write_text("*.py filter=evil diff=evil\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    git(folder, "tag", "v1")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/owned\ncat\n")
    program.chmod(0o755)
    (tmp_path / "included").write_text(
        f'[core]\n\tfsmonitor = {program}\n[filter "evil"]\n\tsmudge = {program}\n\tclean ='
        f" {program}\n\tprocess = {program}\n\trequired = true\n"
    )
    values = {
        "core.fsmonitor": program,
        "core.hooksPath": tmp_path / "hooks",
        "core.sshCommand": program,
        "core.pager": program,
        "log.showSignature": "true",
        "gpg.program": program,
    }
    values |= {f"filter.evil.{word}": program for word in ("clean", "smudge", "process")}
    values |= {
        "diff.evil.textconv": program,
        "diff.external": program,
        "include.path": tmp_path / "included",
        "core.alternateRefsCommand": program,
        "tar.tar.command": program,
    }
    values |= {
        "extensions.partialClone": "origin",
        "remote.origin.url": f"ext::{program}",
        "remote.origin.promisor": "true",
        "protocol.ext.allow": "always",
    }
    (tmp_path / "hooks").mkdir()
    for hook in ("post-index-change", "reference-transaction", "post-checkout", "pre-auto-gc"):
        (tmp_path / "hooks" / hook).symlink_to(program)
    for name, value in values.items():
        git(folder, "config", name, str(value))
    (folder / "wsgi.py").write_text("app = 2\n")
    os.utime(folder / "wsgi.py", (1, 1))
    return folder


@pytest.mark.parametrize("ref", ["", "main", "v1", "tag:v*", "HEAD"])
def test_a_strangers_repository_runs_nothing(hostile: Path, ref: str) -> None:
    made = source.find(settings(hostile, app={"name": "shop", "source": ".", "ref": ref}))
    assert made.label.split()[-2:] == ["one", "(dirty)"] if not ref else made.label.endswith(" one")
    assert b"wsgi.py" in made.archive()
    assert not (hostile.parent / "owned").exists()


SIGNED = "\n".join(
    ["gpgsig -----BEGIN PGP SIGNATURE-----", " ", " AAAA", " -----END PGP SIGNATURE-----"]
)


@pytest.fixture
def signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose archive asks git to check a signature, and a gpg that would be run."""
    folder = tmp_path / "signed"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / ".gitattributes").write_text("version export-subst\n")
    (folder / "version").write_text("$Format:%G?$\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    plain = subprocess.run(
        ["git", "-C", folder, "cat-file", "commit", "HEAD"], capture_output=True, text=True
    ).stdout
    head, _, message = plain.partition("\n\n")
    made = subprocess.run(
        ["git", "-C", folder, "hash-object", "-t", "commit", "-w", "--stdin"],
        input=f"{head}\n{SIGNED}\n\n{message}",
        capture_output=True,
        text=True,
    ).stdout.strip()
    git(folder, "update-ref", "refs/heads/main", made)
    (tmp_path / "bin").mkdir()
    for name in ("gpg", "gpgsm", "ssh-keygen"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/owned\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    subprocess.run(["git", "-C", folder, "archive", "main"], capture_output=True)
    assert (tmp_path / "owned").exists()  # so git does it, unless it is told otherwise
    (tmp_path / "owned").unlink()
    return folder


def test_a_signature_that_a_repository_asks_for_is_not_checked(signed: Path) -> None:
    made = source.find(settings(signed, app={"name": "shop", "source": ".", "ref": "main"}))
    assert b"version" in made.archive()
    assert not (signed.parent / "owned").exists()


def test_a_signature_is_not_checked_on_the_server(signed: Path) -> None:
    text = (SERVER / "release/source.sh").read_text()
    start = text.index("git=$(command -v git)")
    function = text[start : text.index("\n}\n", start)] + "\n}\n"
    call = re.search(r"(PATH=.* archive .*) \| tar", text)
    assert call
    (signed.parent / "repo.git").symlink_to(signed / ".git")
    done = subprocess.run(
        ["sh", "-c", f"root=$1 commit=main\n{function}\n{call[1]}", "sh", signed.parent],
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (
        0,
        b"error: cannot run gpg: No such file or directory\n",
    )
    assert b"version" in done.stdout
    assert not (signed.parent / "owned").exists()


def test_a_worktree_that_the_configuration_puts_elsewhere_is_not_sent(
    hostile: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret.txt").write_text("x")
    git(hostile, "config", "core.worktree", str(tmp_path / "elsewhere"))
    assert source.find(settings(hostile, app={"name": "shop", "source": "."})).files == (
        ".gitattributes",
        "wsgi.py",
    )


@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_a_repository_is_read_as_git_reads_it(tmp_path: Path, form: str) -> None:
    git(tmp_path, "init", "-q", "-b", "main", f"--object-format={form}")
    (tmp_path / "a").write_text("1")
    (tmp_path / ".gitignore").write_text("ignored\n")
    (tmp_path / "ignored").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    found = source.find(settings(tmp_path, app={"name": "shop", "source": "."}))
    assert found.files == (".gitignore", "a") and "(dirty)" not in found.label
    git(tmp_path, "checkout", "-q", "--detach")
    git(tmp_path, "pack-refs", "--all")
    assert source.find(
        settings(tmp_path, app={"name": "shop", "source": ".", "ref": "main"})
    ).label.endswith("first")
    linked = tmp_path / "linked"
    git(tmp_path, "worktree", "add", "-q", str(linked), "main")
    assert source.find(settings(linked, app={"name": "shop", "source": "."})).files == (
        ".gitignore",
        "a",
    )


def test_private_files_are_left_out_and_told(tmp_path: Path) -> None:
    for name in (
        ".env",
        ".env.production",
        ".ssh/id",
        "hosts.toml",
        "env/pyvenv.cfg",
        "env/lib/x.py",
        ".idea/a.xml",
        "key.pem",
        "deep/.envrc",
        "deep/app.py",
        "keys/deploy",
        ".gitignore",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    made = source.find(
        settings(tmp_path, app={"name": "shop", "source": "."}).model_copy(
            update={"named_files": ("key.pem", "~/elsewhere", str(tmp_path / "keys/deploy"))}
        )
    )
    assert made.files == (".gitignore", "deep/app.py")
    assert made.left_out == (
        ".env",
        ".env.production",
        ".idea/",
        ".ssh/",
        "deep/.envrc",
        "env/",
        "hosts.toml",
        "key.pem",
        "keys/deploy",
    )


def test_every_file_that_hosts_toml_names_is_known(tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text(
        HOSTS
        + '[tls]\nkind = "files"\ncertificate = "c.pem"\nkey = "k.pem"\n[system]\nadmins = { ann ='
        ' "ann.pub" }\n[groups.production.app]\nenv_file = ".production"\n[hosts.a]\ngroups ='
        ' ["production"]\nidentity = "id"\n[hosts.b]\nidentity = "other"\n'
    )
    assert set(inventory.load(tmp_path / "hosts.toml").settings("a").named_files) == {
        "c.pem",
        "k.pem",
        "ann.pub",
        ".production",
        "id",
        "other",
    }


def test_a_strangers_hosts_toml_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hosts.toml").write_text(HOSTS)
    (tmp_path / "inside").mkdir()
    assert files.find(tmp_path, tmp_path) == tmp_path / "hosts.toml"
    real = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: real + 1)
    for start in (tmp_path, tmp_path / "inside"):
        with pytest.raises(
            SettingsError, match=rf"belongs to \S+, not to you.*export DECANT_TRUST={tmp_path}$"
        ):
            files.find(start, tmp_path)
    monkeypatch.setenv("DECANT_TRUST", f"/elsewhere:{tmp_path}")
    assert files.find(tmp_path / "inside", tmp_path) == tmp_path / "hosts.toml"
    monkeypatch.delenv("DECANT_TRUST")
    # Who became root by sudo is still the owner.
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", str((tmp_path / "hosts.toml").stat().st_uid))
    assert files.find(tmp_path, tmp_path) == tmp_path / "hosts.toml"


def test_our_own_hosts_toml_in_somebody_elses_folder_above_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts.toml").write_text(HOSTS)
    (tmp_path / "inside").mkdir()
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(tmp_path, 12345, -1)
    assert files.find(tmp_path, tmp_path) == tmp_path / "hosts.toml"
    with pytest.raises(SettingsError, match=r"belongs to the account 12345, not to you"):
        files.find(tmp_path / "inside", Path("/nowhere"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(
    "name", ["templates/systemd/service.j2", "templates/nginx", "templates", ".lab/hosts.toml"]
)
def test_a_strangers_file_beside_our_hosts_toml_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "hosts.toml").write_text(HOSTS)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("") if "." in name[1:] else (tmp_path / name).mkdir()
    inventory.load(tmp_path / "hosts.toml")
    os.chown(tmp_path / name, 12345, -1)
    with pytest.raises(SettingsError, match=rf"{name} belongs to the account 12345, not to you"):
        inventory.load(tmp_path / "hosts.toml")
    monkeypatch.setenv("DECANT_TRUST", str(tmp_path))
    inventory.load(tmp_path / "hosts.toml")


def test_passwords_that_others_may_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text(HOSTS)
    secret = tmp_path / ".env.deploy"
    secret.write_text("SUDO_PASSWORD=x\n")
    for mode in (0o644, 0o640, 0o604):
        secret.chmod(mode)
        with pytest.raises(
            SettingsError, match=rf"others may read it \(mode 0{mode:o}\); run: chmod 600 {secret}"
        ):
            inventory.load(tmp_path / "hosts.toml")
    secret.chmod(0o600)
    inventory.load(tmp_path / "hosts.toml")
    git(tmp_path, "init", "-q")
    inventory.load(tmp_path / "hosts.toml")
    git(tmp_path, "add", "-f", ".env.deploy")
    with pytest.raises(SettingsError, match="git tracks it"):
        inventory.load(tmp_path / "hosts.toml")
