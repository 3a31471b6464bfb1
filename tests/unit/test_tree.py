"""What root does with files that others wrote: by descriptors, and never through a link."""

import grp
import importlib.util
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from decant.config import source
from decant.plans.rendering import SERVER

TREE = SERVER / "tree.py"
ME = pwd.getpwuid(os.getuid()).pw_name
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="what root does")


def tree() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tree", TREE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["tree"] = module
    spec.loader.exec_module(module)
    return module


def run(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", TREE, *words], capture_output=True, text=True
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def mode(path: Path) -> tuple[str, str]:
    found = path.lstat()
    return oct(stat.S_IMODE(found.st_mode))[2:], grp.getgrgid(found.st_gid).gr_name


@pytest.fixture
def release(tmp_path: Path) -> Path:
    top = tmp_path / "release"
    for name in (
        "app/wsgi.py",
        "app/static/a.css",
        "app/run.sh",
        "assets/b.css",
        ".env",
        "hosts.toml",
        "venv/pyvenv.cfg",
        ".deploy/env",
        "key.pem",
    ):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    (top / "app/run.sh").chmod(0o4755)
    (top / "app/static/more").symlink_to("../../assets")
    return top


def test_a_release_is_roots_its_groups_and_its_static_folders_the_proxys(release: Path) -> None:
    code, said = run(
        "release", str(release), ME, "app/static", "key.pem\nnowhere", "app.subdir\tapp"
    )
    assert (code, said) == (
        0,
        "left out of the release, as private: .env, hosts.toml, key.pem, venv/",
    )
    assert mode(release) == ("751", ME) and mode(release / "app") == ("751", ME)
    assert mode(release / "app/wsgi.py") == ("640", ME)
    assert mode(release / "app/run.sh") == ("750", ME), "no setuid"
    assert mode(release / "app/static") == ("750", "www-data") and mode(
        release / "app/static/a.css"
    ) == ("640", "www-data")
    assert mode(release / "assets/b.css") == (
        "640",
        "www-data",
    ), "a link of the release leads there"
    assert (release / ".deploy/env").exists()


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("app/static/out", "/etc"),
        ("app/static/deep/out", "../../../../outside"),
        ("app/static", "/var/log"),
    ],
)
def test_a_link_that_leads_out_of_a_static_folder_is_refused(
    tmp_path: Path, link: str, target: str
) -> None:
    top = tmp_path / "release"
    (top / link).parent.mkdir(parents=True)
    (top / link).symlink_to(target)
    code, said = run("release", str(top), ME, "app/static", "", "")
    assert code == 1 and said.startswith(
        f"app.static: {link} in the repository is a symbolic link out of it"
    )


@pytest.mark.parametrize(
    ("link", "key"),
    [("app", "app.subdir"), ("app/static", "app.shared"), ("app/static/deep", "app.shared")],
)
def test_a_link_in_a_named_path_is_refused_by_name(tmp_path: Path, link: str, key: str) -> None:
    top, outside = tmp_path / "release", tmp_path / "outside"
    outside.mkdir()
    (top / link).parent.mkdir(parents=True)
    (top / link).symlink_to(outside)
    code, said = run("release", str(top), ME, "", "", f"{key}\t{link}/box")
    assert code == 1 and said.startswith(
        f"{key}: {link} in the repository is a symbolic link, to {outside}"
    )


def test_a_device_in_a_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    os.mkfifo(tmp_path / "release/pipe")
    assert run("release", str(tmp_path / "release"), ME, "", "", "") == (
        1,
        "pipe in the repository is neither a file nor a folder nor a link; remove it",
    )


def test_what_a_build_made_is_copied_so_that_no_descriptor_outlives_it(tmp_path: Path) -> None:
    made, target = tmp_path / "made", tmp_path / "target"
    (made / "bin").mkdir(parents=True)
    (made / "bin/python").symlink_to("/usr/bin/python3")
    (made / "bin/tool.py").write_text("x")
    (made / "bin/tool.py").chmod(0o755)
    os.utime(made / "bin/tool.py", ns=(1, 1_700_000_000_123_456_789))
    for name in ("pip/__pycache__/a.pyc", "flask/__pycache__/a.pyc"):
        (made / "lib" / name).parent.mkdir(parents=True)
        (made / "lib" / name).touch()
    target.mkdir()
    held = (made / "bin/tool.py").open("a")
    assert run("adopt", str(made), str(target), ME) == (0, "")
    held.write("later")
    held.close()
    assert (target / "bin/tool.py").read_text() == "x", (
        "a descriptor that outlives the build leads elsewhere"
    )
    assert (target / "bin/tool.py").stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert [str(path.relative_to(target)) for path in target.rglob("*.pyc")] == [
        "lib/flask/__pycache__/a.pyc"
    ], "nobody waits for pip"
    assert mode(target / "bin/tool.py") == ("750", ME) and (
        target / "bin/python"
    ).readlink() == Path("/usr/bin/python3")


@pytest.mark.parametrize(
    ("trick", "said"),
    [
        ("chmod 4755 trick", "setuid"),
        ("ln trick again", "hard links"),
        ("rm trick; mkfifo trick", "neither a file"),
    ],
)
def test_what_cannot_be_part_of_an_environment_is_refused(
    tmp_path: Path, trick: str, said: str
) -> None:
    made, target = tmp_path / "made", tmp_path / "target"
    made.mkdir()
    target.mkdir()
    (made / "trick").write_text("x")
    subprocess.run(["sh", "-c", trick], cwd=made, check=True)
    code, why = run("adopt", str(made), str(target), ME)
    assert code == 1 and said in why


def test_a_published_folder_changes_only_what_is_the_applications(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    folder, victim = tmp_path / "uploads", tmp_path / "victim"
    folder.mkdir(mode=0o750)
    (folder / "mine").write_text("x")
    victim.write_text("x")
    victim.chmod(0o600)
    (folder / "link").symlink_to(victim)
    (folder / "roots").write_text("x")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    os.chown(folder / "mine", nobody.pw_uid, nobody.pw_gid)
    assert run("publish", str(folder), "nobody") == (0, "")
    assert mode(folder) == ("2750", "www-data") and mode(folder / "mine")[1] == "www-data"
    assert mode(victim) == ("600", "root") and mode(folder / "roots")[1] == "root"
    (tmp_path / "linked").symlink_to(folder)
    assert run("publish", str(tmp_path / "linked"), "nobody")[0] == 1


def test_server_and_client_leave_out_the_same() -> None:
    assert tree().PRIVATE == source.PRIVATE


def test_what_the_proxy_would_miss_is_told_with_what_may_have_been_meant(release: Path) -> None:
    assert run("missing", str(release), "app/static\nassets/b.css") == (0, "")
    assert run("missing", str(release), "app/statc\nassets\nelsewhere/entirely") == (
        0,
        "app/statc in the release, did you mean app/static?\nelsewhere/entirely in the release",
    )
