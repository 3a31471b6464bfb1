"""Every task runs alone on a server, and says what it did."""

import json

import pytest

from tests.booted import Server, ServerFactory, changed


@pytest.mark.parametrize(
    "task",
    [
        "system.setup",
        "system.packages",
        "system.user",
        "system.firewall",
        "python.install",
        "python.venv",
        "gunicorn.install",
        "nginx.install",
        "nginx.site",
    ],
)
def test_a_task_whose_work_is_done_changes_nothing(deployed: Server, task: str) -> None:
    deployed.configure()
    assert changed(deployed.fab(task).stdout) == [0]
    assert deployed.get("/version") == (200, "v1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status"], "guestbook"),
        (["system.info"], "Debian GNU/Linux"),
        (["app.env"], "SECRET_KEY"),
        (["app.releases"], "current"),
        (["app.pull"], "already current"),
        (["app.run", "flask routes"], "pages.book"),
        (["app.run", "id -un"], "guestbook"),
        (["gunicorn.status"], "guestbook.socket"),
        (["gunicorn.logs"], "gunicorn"),
        (["gunicorn.reload"], "reload of guestbook"),
        (["gunicorn.restart"], "restart behind the open socket"),
        (["nginx.check"], "test is successful"),
        (["nginx.reload"], "reload of nginx"),
        (["nginx.status"], "nginx.service"),
        (["nginx.logs"], "GET /"),
        (["db.migrate"], "no migration is pending"),
        (["nginx.reload", "app.releases"], "current"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_task_runs_alone(deployed: Server, words: list[str], said: str) -> None:
    deployed.configure()
    assert said in deployed.fab(*words).stdout
    assert deployed.get("/version") == (200, "v1")


def test_reports_are_one_json_document_on_standard_output(deployed: Server) -> None:
    status = json.loads(deployed.fab("status", "--json").stdout)
    assert (status["application"], status["health"], status["service"]) == (
        "guestbook",
        "healthy",
        "active",
    )
    releases = json.loads(deployed.fab("app.releases", "--json").stdout)
    assert [(item["state"], item["current"]) for item in releases] == [("good", True)]
    outcome = json.loads(deployed.fab("deploy", "--json").stdout)
    assert (outcome["result"], outcome["changed"]) == ("current", 0)


def test_a_dry_run_shows_the_plan_and_changes_nothing(deployed: Server) -> None:
    deployed.configure(more='[proxy]\ndomains = ["example.test"]\n[system]\npackages = ["jq"]')
    before = deployed.fingerprint()
    shown = deployed.fab("--dry", "deploy").stdout
    assert "+    server_name example.test;" in shown
    assert "jq" in shown
    assert "nothing was changed" in shown
    deployed.fab("--dry", "update")
    assert deployed.fingerprint() == before
    deployed.configure()


def test_update_says_what_only_deploy_applies(deployed: Server) -> None:
    deployed.configure(more='[proxy]\ndomains = ["example.test"]')
    said = deployed.fab("update").stdout
    assert "changed in hosts.toml (only deploy applies it): " in said
    assert "file /etc/nginx/sites-available/guestbook" in said
    deployed.configure()


def test_stopping_and_removing_take_the_site_down_and_back(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.fab("gunicorn.stop")
    assert server.get("/version")[0] == 502
    server.fab("gunicorn.start")
    assert server.get("/version") == (200, "v1")
    server.fab("nginx.stop")
    with pytest.raises(ConnectionRefusedError):
        server.get("/version")
    server.fab("nginx.start", "nginx.restart")
    assert server.get("/version") == (200, "v1")
    server.fab("nginx.remove")
    server.ssh("nginx -t && test ! -e /etc/nginx/sites-enabled/guestbook")
    assert changed(server.fab("nginx.site").stdout) != [0]
    server.wait_until(lambda: server.get("/version") == (200, "v1"))


def test_a_variable_set_on_the_server_reaches_the_application_and_stays(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    hostile = "a 'b' \"c\" $(touch /tmp/owned) ${HOME} ü\\n"
    assert hostile not in server.fab("app.env-set", f"GREETING={hostile}").stdout
    assert server.get("/variable/GREETING") == (200, hostile)
    server.ssh("printf 'BY_HAND=\"yes\"\\n' >> /srv/guestbook/shared/secrets.env")
    server.fab("app.env-set", "GREETING=hello")
    server.fab("deploy")
    assert server.get("/variable/GREETING") == (200, "hello")
    assert server.get("/variable/BY_HAND") == (200, "yes")
    assert (
        server.ssh("stat -c '%a %U:%G' /srv/guestbook/shared/secrets.env") == "640 root:guestbook"
    )
    server.ssh("test ! -e /tmp/owned")
    shown = server.fab("app.env").stdout
    assert "GREETING" in shown
    assert "hello" not in shown
    assert "hello" in server.fab("app.env", "--reveal").stdout


def test_hardening_shuts_out_passwords_and_keeps_our_key(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.configure(more='[system]\nharden = true\ntimezone = "Europe/Berlin"')
    (server.folder / "alice.pub").write_text(server.ssh("cat /root/.ssh/authorized_keys") + "\n")
    server.configure(
        more='[system]\nharden = true\ntimezone = "Europe/Berlin"\nadmins = { alice = "alice.pub" }'
    )
    server.fab("system.setup")
    assert changed(server.fab("system.setup").stdout) == [0]
    assert changed(server.fab("system.harden").stdout) == [0]
    assert "passwordauthentication no" in server.ssh("sshd -T")
    assert server.ssh("sudo -n id -un", user="alice") == "root"
    assert server.ssh("date +%Z") in ("CET", "CEST")
    server.ssh("dpkg -s unattended-upgrades >/dev/null")
    server.fab("system.upgrade")


@pytest.mark.full
def test_the_firewall_lets_in_the_port_that_sshd_really_uses(booth: ServerFactory) -> None:
    server = booth.boot()
    server.ssh("echo 'Port 2222\nPort 22' >> /etc/ssh/sshd_config && systemctl restart ssh")
    server.configure(more=server.entry("other-port").replace("]\n", "]\nport = 2222\n", 1))
    server.fab("system.setup", host="other-port")
    rules = server.ssh("ufw status")
    assert "Status: active" in rules
    assert "2222/tcp" in rules
    assert "80/tcp" in rules
    assert "\n22/tcp" in rules
    assert changed(server.fab("system.setup", host="other-port").stdout) == [0]


@pytest.mark.full
def test_with_a_stranger_listening_there_is_no_firewall_and_he_is_named(
    booth: ServerFactory,
) -> None:
    server = booth.boot()
    server.ssh(
        "systemd-run --unit=stranger --socket-property=ListenStream=5432"
        " --socket-property=Accept=yes true || systemd-socket-activate --version"
    )
    server.ssh("systemctl start stranger.socket || true")
    said = server.fab("system.firewall", code=1).stderr
    assert "5432/tcp listen publicly" in said
    assert "add them to system.allow" in said
    server.configure(more='[system]\nallow = ["5432/tcp"]')
    server.fab("system.firewall")
    assert "5432/tcp" in server.ssh("ufw status")
