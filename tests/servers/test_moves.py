"""A live server moves from one stack to another when hosts.toml says so.

The site answers again, with its rows and its variables.
"""

import http.client
import shlex

import pytest

from decant.program import mark
from decant.steps import Transaction
from tests.booted import Server, ServerFactory, changed
from tests.load import Load

pytestmark = pytest.mark.full

APACHE = '[proxy]\nkind = "apache"'


def moved(server: Server, rows: list[str], wsgi: str = "", more: str = "") -> str:
    """Deploy with these settings.

    The site must answer with what it had, and a second deploy must change nothing. Returns what was
    said.
    """
    secret = server.ssh("cat /srv/guestbook/shared/secrets.env")
    server.configure(wsgi=wsgi, more=more)
    said = server.fab("deploy").stdout
    assert server.get("/version") == (200, "v1")
    assert "body" in server.get("/static/style.css")[1]
    assert server.rows() == rows
    assert server.ssh("cat /srv/guestbook/shared/secrets.env") == secret
    assert changed(server.fab("deploy").stdout) == [0]
    return said


def test_from_nginx_to_apache_and_back(booth: ServerFactory) -> None:
    server = booth.deployed()
    rows = server.rows()
    moved(server, rows, more=APACHE)
    assert (
        server.ssh("systemctl is-active nginx; systemctl is-enabled nginx; true")
        == "inactive\ndisabled"
    )
    server.ssh(
        "test ! -e /etc/nginx/sites-enabled/guestbook && test ! -e"
        " /etc/nginx/sites-available/guestbook"
    )
    moved(server, rows)
    assert (
        server.ssh("systemctl is-active apache2; systemctl is-enabled apache2; true")
        == "inactive\ndisabled"
    )
    server.fab("system.reboot")
    server.wait_until(
        lambda: server.get("/version") == (200, "v1"), what="the site is back after a reboot"
    )


def test_from_systemd_to_supervisor_and_back(booth: ServerFactory) -> None:
    server = booth.deployed()
    rows = server.rows()
    moved(server, rows, 'manager = "supervisor"')
    server.ssh(
        "test ! -e /etc/systemd/system/guestbook.service && test ! -e"
        " /etc/systemd/system/guestbook.socket"
    )
    assert "guestbook.service loaded" not in server.ssh(
        "systemctl list-units --all --plain --no-legend 'guestbook*'"
    )
    assert server.ssh("supervisorctl status").count("RUNNING") == 2
    moved(server, rows)
    assert (
        server.ssh("test ! -e /etc/supervisor/conf.d/guestbook.conf && supervisorctl status") == ""
    )


def test_a_supervisor_that_opens_its_socket_late_is_waited_for(booth: ServerFactory) -> None:
    server = booth.deployed()
    late = (
        "[Service]\nExecStart=\nExecStart=/bin/sh -c 'sleep 3; exec /usr/bin/supervisord -n -c"
        " /etc/supervisor/supervisord.conf'\n"
    )
    folder = "/etc/systemd/system/supervisor.service.d"
    server.ssh(
        f"mkdir {folder} && printf %s {shlex.quote(late)} > {folder}/late.conf && systemctl"
        " daemon-reload"
    )
    moved(server, server.rows(), 'manager = "supervisor"')


def test_from_gunicorn_to_uwsgi_loses_no_row_and_rollback_leads_back(booth: ServerFactory) -> None:
    server = booth.deployed()
    rows = server.rows()
    moved(server, rows, 'server = "uwsgi"')
    assert "uwsgi" in server.ssh(
        "ps -o args= --ppid $(systemctl show -p MainPID --value guestbook)"
    )
    server.fab("rollback")
    assert server.get("/version") == (200, "v1")
    assert "gunicorn" in server.ssh(
        "ps -o args= --ppid $(systemctl show -p MainPID --value guestbook)"
    )
    assert server.rows() == rows


def test_into_apache_itself_and_out_again(booth: ServerFactory) -> None:
    server = booth.deployed()
    rows = server.rows()
    moved(server, rows, 'server = "mod_wsgi"', APACHE)
    assert server.ssh("grep -ls '^(wsgi:guestbook)' /proc/[0-9]*/cmdline | wc -l") == str(
        2 * int(server.ssh("nproc")) + 1
    )
    server.ssh("test ! -e /etc/systemd/system/guestbook.service")
    said = server.fab("rollback", code=1).stderr
    assert "this server is not set up for gunicorn" in said and "run: fab deploy" in said
    assert server.get("/version") == (200, "v1")
    moved(server, rows, 'server = "uwsgi"\nmanager = "supervisor"')
    server.ssh("test ! -e /etc/systemd/system/apache2.service.d/decant-guestbook.conf")
    assert server.ssh("systemctl is-active apache2; true") == "inactive"


@pytest.mark.parametrize("manager", ["systemd", "supervisor"])
def test_to_an_address_of_its_own(booth: ServerFactory, manager: str) -> None:
    server = booth.deployed()
    rows = server.rows()
    wsgi = f'bind = "127.0.0.1:5000"\nmanager = "{manager}"'
    moved(server, rows, wsgi, APACHE)
    assert "127.0.0.1:5000" in server.ssh("ss -Hltn")
    server.configure('ref = "migrates"', wsgi, APACHE)
    with Load(server.address) as load:
        server.fab("update")
    assert load.lost == []
    assert load.versions.keys() == {"v1", "migrates"}


def test_a_proxy_that_serves_others_stays_and_nothing_is_changed(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.ssh(
        "printf 'server { listen 80; server_name blog.test; return 200 blog; }' >"
        " /etc/nginx/sites-enabled/blog && systemctl reload nginx"
    )
    before = server.fingerprint()
    server.configure(more=APACHE)
    said = server.fab("deploy", code=1).stderr
    assert "nginx on this server serves others, too (/etc/nginx/sites-enabled/blog)" in said
    assert 'set proxy.kind = "nginx"' in said
    assert server.fingerprint() == before
    assert server.get("/version") == (200, "v1")


def test_a_proxy_that_does_not_take_the_site_leaves_the_old_one_serving(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    server.ssh(
        "apt-get -qq update && apt-get -qq install -y --no-install-recommends apache2 >/dev/null"
        " 2>&1; sed -i 's/^Listen 80$/Listen 8080/' /etc/apache2/ports.conf"
    )
    server.configure(more=APACHE)
    said = server.fab("deploy", code=1).stderr
    assert "the health check through apache2 failed" in said
    assert server.get("/version") == (200, "v1")
    assert server.ssh("systemctl is-enabled nginx") == "enabled"
    assert server.ssh("systemctl is-active apache2; true") == "inactive"


def test_a_proxy_that_does_not_start_leaves_the_old_one_serving_also_after_a_reboot(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    server.ssh(
        "apt-get -qq update && apt-get -qq install -y --no-install-recommends apache2 >/dev/null"
        " 2>&1; echo 'Listen 22' >> /etc/apache2/ports.conf"
    )
    server.configure(more=APACHE)
    assert "apache2 does not start" in server.fab("deploy", code=1).stderr
    assert server.get("/version") == (200, "v1")
    server.fab("system.reboot")
    server.wait_until(
        lambda: server.get("/version") == (200, "v1"), what="the site is back after a reboot"
    )
    server.ssh("sed -i '/^Listen 22$/d' /etc/apache2/ports.conf")
    server.fab("deploy")
    assert server.get("/version") == (200, "v1")
    assert server.ssh("systemctl is-active apache2") == "active"


def test_a_page_that_somebody_put_there_by_hand_is_not_taken_away(booth: ServerFactory) -> None:
    server = booth.boot()
    server.ssh(
        "apt-get -qq update && apt-get -qq install -y --no-install-recommends apache2 >/dev/null"
        " 2>&1; echo mine > /var/www/html/mine.html"
    )
    before = server.fingerprint()
    assert "apache2 on this server serves others, too" in server.fab("deploy", code=1).stderr
    assert server.fingerprint() == before
    assert server.get("/mine.html") == (200, "mine\n")
    server.ssh("rm /var/www/html/mine.html")
    server.fab("deploy")
    assert server.get("/version") == (200, "v1")


def test_a_move_that_was_cut_off_before_it_took_effect_goes_on_with_the_next_deploy(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    rows = server.rows()
    server.configure(wsgi='manager = "supervisor"')
    server.fab("deploy")
    # As a cut between the last file and restart.sh leaves it: the program is written, supervisor
    # does not know it, and the check is still to be made.
    server.ssh(
        "mv /etc/supervisor/conf.d/guestbook.conf /tmp/ && supervisorctl update guestbook && mv"
        " /tmp/guestbook.conf /etc/supervisor/conf.d/"
    )
    check = Transaction(
        (), validate=("sh", "/srv/guestbook/procedures/restart.sh", "/srv/guestbook", "changed")
    )
    server.ssh(f"touch /var/lib/decant/pending/guestbook/check-{mark(check)}")
    assert server.get("/version")[0] == 502
    moved(server, rows, 'manager = "supervisor"')
    assert server.ssh("ls /var/lib/decant/pending/guestbook") == ""


def test_an_application_with_a_long_name_changes_its_version_inside_apache(
    booth: ServerFactory,
) -> None:
    server = booth.boot("trixie")
    name, wsgi = 'name = "guestbook-on-staging"', 'server = "mod_wsgi"'
    server.configure(name, wsgi, APACHE)
    server.fab("deploy")
    server.get("/version")
    server.configure(
        f'{name}\nref = "better"\nstatic = {{ "/static" = "guestbook/static", "/more" ='
        ' "guestbook" }',
        wsgi,
        APACHE,
    )
    with Load(server.address, reopens=True) as load:
        server.fab("update")
    # Its static folders changed, so Apache had to be reloaded: some visitors met the maintenance
    # page, and no one else was turned away.
    assert [lost for lost in load.lost if ": 503 " not in lost] == []
    assert server.get("/version") == (200, "better")


def test_members_of_the_group_supervisor_need_no_sudo(booth: ServerFactory) -> None:
    server = booth.deployed()
    login = server.login("passwordless")
    server.configure(wsgi='manager = "supervisor"', more=login)
    server.fab("supervisor.install")
    assert server.ssh("supervisorctl status", user="deployer").count("RUNNING") == 2
    assert server.ssh("stat -c '%U:%G %a' /run/supervisor.sock") == "root:supervisor 770"
    assert "supervisor" not in server.ssh("id -nG guestbook")
    server.ssh("systemctl restart supervisor")
    server.wait_until(
        lambda: (
            server.ssh("supervisorctl status", user="deployer", check=False).count("RUNNING") == 2
        )
    )
    assert server.ssh("stat -c '%U:%G %a' /run/supervisor.sock") == "root:supervisor 770"


def test_the_tasks_of_the_other_namespaces_run_alone(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.configure(wsgi='server = "uwsgi"\nmanager = "supervisor"', more=APACHE)
    server.fab("deploy")
    for task in ("uwsgi.install", "supervisor.install", "apache.install", "apache.site"):
        assert changed(server.fab(task).stdout) == [0], task
    for task, said in {
        "uwsgi.status": "RUNNING",
        "supervisor.status": "RUNNING",
        "uwsgi.logs": "uWSGI",
        "uwsgi.reload": "reload of guestbook",
        "uwsgi.restart": "restart behind the open socket",
        "supervisor.restart": "restart behind the open socket",
        "supervisor.reload": "program read anew",
        "apache.check": "Syntax OK",
        "apache.status": "apache2.service",
        "apache.logs": "GET /",
        "apache.reload": "reload of Apache",
        "apache.restart": "restart of Apache",
        "status": "running",
    }.items():
        assert said in server.fab(task).stdout, task
        server.wait_until(lambda: server.get("/version") == (200, "v1"), seconds=10)
    for task in ("uwsgi.stop", "supervisor.stop"):
        server.fab(task)
        assert server.get("/version")[0] == 503
        assert server.get("/static/style.css")[0] == 200
        server.fab(task.replace("stop", "start"))
        assert server.get("/version") == (200, "v1")
    server.fab("apache.stop")
    with pytest.raises((ConnectionRefusedError, http.client.HTTPException)):
        server.get("/version")
    server.fab("apache.start")
    assert server.get("/version") == (200, "v1")
    server.fab("apache.remove")
    assert server.get("/version") != (200, "v1")
    server.fab("apache.site")
    server.wait_until(lambda: server.get("/version") == (200, "v1"))
    assert (
        'wsgi.server is "uwsgi"; its tasks are uwsgi.*'
        in server.fab("gunicorn.restart", code=1).stderr
    )
    assert (
        'proxy.kind is "apache"; its tasks are apache.*'
        in server.fab("nginx.reload", code=1).stderr
    )

    server.configure(wsgi='server = "mod_wsgi"', more=APACHE)
    server.fab("deploy")
    with Load(server.address) as load:
        assert "restart behind the open socket" in server.fab("mod-wsgi.reload").stdout
        assert changed(server.fab("mod-wsgi.install").stdout) == [0]
    assert load.lost == []
    assert "does not run under supervisor" in server.fab("supervisor.restart", code=1).stderr
