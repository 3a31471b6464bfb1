"""What hosts.toml may not ask for together.

Each rule yields `path: what is wrong and what to do`.
"""

import ast
import ipaddress
import keyword
import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decant.config.models import Settings

# What would take the socket out of the manager's hands, the process out of the unit's, or the
# visitor's address out of the proxy's.
RESERVED_OPTIONS = {
    "gunicorn": frozenset(
        [
            "bind",
            "daemon",
            "user",
            "group",
            "umask",
            "pidfile",
            "chdir",
            "wsgi_app",
            "reload",
            "forwarder_headers",
            "forwarded_allow_ips",
            "secure_scheme_headers",
            "post_worker_init",
            "worker_tmp_dir",
            "config",
        ]
    ),
    "uwsgi": frozenset(
        [
            "socket",
            "uwsgi-socket",
            "http",
            "http-socket",
            "https",
            "shared-socket",
            "fastcgi-socket",
            "master",
            "module",
            "wsgi",
            "wsgi-file",
            "callable",
            "mount",
            "chdir",
            "home",
            "virtualenv",
            "venv",
            "uid",
            "gid",
            "daemonize",
            "daemonize2",
            "pidfile",
            "safe-pidfile",
            "die-on-term",
            "hook-master-start",
            "processes",
            "workers",
            "strict",
            "ini",
            "need-app",
            "vacuum",
            "lazy-apps",
        ]
    ),
    "mod_wsgi": frozenset(
        [
            "user",
            "group",
            "umask",
            "processes",
            "threads",
            "display-name",
            "python-home",
            "python-path",
            "home",
            "chroot",
            "socket-user",
        ]
    ),
}

# Names that the proxies' own packages use for their sites, and ours for the locks of all
# applications (/run/decant).
RESERVED = ("default", "default-ssl", "decant", "decant-backup")

# What is behind NAME- in the template units that every application has.
OWN_UNITS = ("smoke", "window")

BY_SFTP = {
    "identity": "the local file of a private key that the storage lets in",
    "host_key": "the storage's own key, as ssh-keyscan HOST prints it behind the name",
}

# The shortest prefix of a balancer's network: that of the widest private ones (RFC 1918, 4193).
WIDEST = {4: 8, 6: 7}

# Headers that say how an answer is sent, or whose it is.
PROXIES_OWN = frozenset(
    [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "keep-alive",
        "location",
        "server",
        "set-cookie",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "www-authenticate",
        "x-decant-answer",
    ]
)

# What certbot's plugins cannot do without, by their documentation.
DNS_NEEDS = {
    "cloudflare": ("api_token",),
    "digitalocean": ("token",),
    "dnsimple": ("token",),
    "gehirn": ("api_token", "api_secret"),
    "linode": ("key",),
    "ovh": ("endpoint", "application_key", "application_secret", "consumer_key"),
    "rfc2136": ("server", "name", "secret"),
    "sakuracloud": ("api_token", "api_secret"),
}

# Databases and accounts that MariaDB and PostgreSQL have themselves.
SERVERS_OWN = frozenset(
    [
        "mysql",
        "sys",
        "information_schema",
        "performance_schema",
        "root",
        "mariadb",
        "postgres",
        "template0",
        "template1",
        "public",
        "none",
        "user",
    ]
)

# The name of a driver in a URL -> the module that it is, and the package that brings it. The first
# one is the default. SQLAlchemy's "Engine Configuration".
DRIVERS = {
    "mariadb": {
        "pymysql": ("pymysql", "pymysql>=1.1,<2"),
        "mysqldb": ("MySQLdb", "mysqlclient>=2.2,<3"),
        "mysqlconnector": ("mysql.connector", "mysql-connector-python>=9"),
    },
    "postgresql": {
        "psycopg2": ("psycopg2", "psycopg2-binary>=2.9,<3"),
        "psycopg": ("psycopg", "psycopg[binary]>=3.2,<4"),
        "pg8000": ("pg8000", "pg8000>=1.31"),
    },
}


def problems(settings: "Settings") -> list[str]:
    """Return what cannot work, each as `path: what is wrong and what to do`."""
    return list(contradictions(settings))


def contradictions(settings: "Settings") -> Iterator[str]:
    """Yield combinations that cannot work, or that would hurt."""
    yield from _roles(settings)
    yield from _database(settings)
    yield from _folders(settings)
    yield from _names(settings)
    yield from _tls(settings)
    yield from _dns(settings)
    yield from _proxy(settings)
    yield from _server(settings)
    yield from _platform(settings)
    yield from _options(settings)
    yield from _processes(settings)
    yield from _backup(settings)


def _processes(settings: "Settings") -> Iterator[str]:
    for kind in ("processes", "schedules"):
        for name in getattr(settings, kind):
            if name in OWN_UNITS:
                yield (
                    f"{kind}.{name}: {settings.app.name}-{name}@.service is this tool's own unit;"
                    " choose another name"
                )
    for name in settings.processes.keys() & settings.schedules.keys():
        yield f"schedules.{name}: a process has that name, too; choose another"
    for name, process in settings.processes.items():
        if process.memory and settings.wsgi.manager == "supervisor":
            yield (
                f"processes.{name}.memory: is systemd's to limit, and wsgi.manager is"
                ' "supervisor"; remove it'
            )


def _backup(settings: "Settings") -> Iterator[str]:
    backup = settings.backup
    for key in ("identity", "host_key"):
        if backup.to.startswith("sftp://") and not getattr(backup, key):
            yield f"backup.{key}: is missing: {BY_SFTP[key]}"
        if backup.to.startswith("s3") and getattr(backup, key):
            yield f"backup.{key}: goes with sftp://, and backup.to is {backup.to}; remove it"
    for name in backup.env:
        if name.startswith("RESTIC_") or name in ("PATH", "HOME"):
            yield f"backup.env.{name}: is this tool's to set"
    if backup.to and settings.peers:
        yield (
            "backup.to: is built for an application on one host, and this one is divided among"
            f" {1 + len(settings.peers)}; back them up by other means"
        )


def _server(settings: "Settings") -> Iterator[str]:
    wsgi = settings.wsgi
    if wsgi.server == "command":
        yield from _own_server(settings)
    elif wsgi.command:
        yield f'wsgi.command: goes with wsgi.server = "command", and that is "{wsgi.server}"'
    elif not wsgi.app:
        yield "wsgi.app: is required"
    if wsgi.server == "mod_wsgi" and settings.proxy.kind != "apache":
        yield (
            f'wsgi.server: mod_wsgi runs inside Apache, and proxy.kind is "{settings.proxy.kind}";'
            ' set proxy.kind = "apache", or choose gunicorn or uwsgi'
        )
    if wsgi.interface == "asgi" and wsgi.server not in ("gunicorn", "command"):
        yield (
            f'wsgi.interface: {wsgi.server} serves WSGI alone; for "asgi" set wsgi.server ='
            ' "gunicorn"'
        )
    if wsgi.server == "mod_wsgi" and wsgi.manager != "systemd":
        yield (
            "wsgi.manager: Apache itself keeps the processes of mod_wsgi; remove wsgi.manager, or"
            " choose gunicorn or uwsgi"
        )
    if wsgi.server == "mod_wsgi" and wsgi.bind:
        yield (
            "wsgi.bind: mod_wsgi has no socket of its own; remove wsgi.bind, or choose gunicorn or"
            " uwsgi"
        )
    alone = "web" in settings.host.roles or not settings.is_app
    if wsgi.bind and not alone and wsgi.bind.partition(":")[0] != settings.host.private_address:
        yield (
            f"wsgi.bind: the web hosts reach this host at {settings.host.private_address};"
            " bind to that address, or set hosts.*.private"
        )
    if wsgi.bind and alone and not wsgi.bind.startswith("127."):
        yield (
            "wsgi.bind: only the proxy may speak to the application, which trusts its headers;"
            " bind to an address of this machine alone, such as 127.0.0.1:5000"
        )
    if "(" in wsgi.app and not _is_literal_call(wsgi.app.partition(":")[2]):
        yield (
            "wsgi.app: a factory is called with literals alone, as in wsgi:create_app('production')"
        )


def _platform(settings: "Settings") -> Iterator[str]:
    """Yield what no platform has."""
    name, wsgi = settings.platform, settings.wsgi
    if not name:
        return
    if settings.db.kind not in ("none", "external"):
        why = (
            "is a file, and the disk there is emptied at each restart"
            if settings.db.kind == "sqlite"
            else "is installed on servers alone"
        )
        yield (
            f'db.kind: {settings.db.kind} {why}; set [{name}.db] kind = "external", with'
            f" {settings.db.variable} in app.env_file or from the platform"
        )
    if wsgi.server not in ("gunicorn", "command"):
        yield (
            f"wsgi.server: {wsgi.server} needs a server of one's own; set [{name}.wsgi] server ="
            ' "gunicorn"'
        )
    if "{socket}" in wsgi.command:
        yield "wsgi.command: a platform leads to a port; write {port} in the place of {socket}"
    if settings.proxy.prefix:
        yield "proxy.prefix: is a matter of our proxies; the platform leads to the whole path"


def _own_server(settings: "Settings") -> Iterator[str]:
    """Yield what is wrong with a server of the application's own."""
    wsgi = settings.wsgi
    places = [place for place in ("{port}", "{socket}") if place in wsgi.command]
    if not wsgi.command:
        yield (
            'wsgi.command: is required with wsgi.server = "command": what serves, such as'
            ' "python -m shop --port {port}"'
        )
    elif len(places) != 1:
        yield (
            "wsgi.command: should have {port} or {socket} where the command is told on what to"
            f" listen, and has {'both' if places else 'neither'}"
        )
    for key in ("workers", "threads", "options", "interface"):
        if getattr(wsgi, key) != type(wsgi).model_fields[key].default:
            yield f"wsgi.{key}: is the command's own to set; remove it, and see wsgi.command"


def _roles(settings: "Settings") -> Iterator[str]:
    """Yield what keeps hosts that divide the work from working together."""
    host, wsgi = settings.host, settings.wsgi
    apps, webs, dbs = (
        [peer.name for peer in settings.peers if role in peer.roles]
        for role in ("app", "web", "db")
    )
    if (
        not settings.is_app
        and not settings.is_web
        and not (settings.has_database_server and settings.database_clients)
    ):
        yield (
            f'host.roles: there is nothing to do for this host: db.kind is "{settings.db.kind}",'
            f" and {'no other' if not apps else 'every'} host has its own"
        )
    if settings.is_web and not settings.is_app and not settings.backends:
        yield (
            "host.roles: a web host needs app hosts: no other host in a group with it has the role"
            ' "app" and not "web"'
        )
    if settings.is_app and "web" not in host.roles and not webs:
        yield (
            'host.roles: an app host without the role "web" needs a web host: no other host in a'
            " group with it has that role"
        )
    if settings.is_app and not settings.is_db and settings.has_database_server and len(dbs) != 1:
        yield (
            'host.roles: the database of this app host is on one host with the role "db" in a'
            f" group with it, and there are {len(dbs) or 'none'}: {', '.join(dbs)}"
        )
    if settings.is_app and not settings.is_db and settings.db.kind == "sqlite" and settings.peers:
        yield (
            'db.kind: a SQLite file belongs to one host, which has the role "db", too; choose'
            " mariadb, postgresql, external or none"
        )
    shared = (
        settings.web_peers
        or settings.database_clients
        or settings.backends
        or settings.database_peer
    )
    if shared and not host.private_address:
        yield (
            "host.private: the address under which the other hosts reach this one is missing, and"
            ' host.address is none: private = "10.0.0.2"'
        )
    if (settings.web_peers or settings.database_clients) and settings.system.firewall is False:
        yield (
            "system.firewall: without it this host would serve everybody what is for the other"
            ' hosts alone; remove it, or set it to "auto" or true'
        )
    others = [
        peer.name
        for peer in settings.peers
        if settings.is_web
        and "app" in peer.roles
        and "web" not in peer.roles
        and peer.server != wsgi.server
    ]
    if others:
        yield (
            f'wsgi.server: the web host speaks to {", ".join(others)} as to "{wsgi.server}", and'
            " they have another one; set the same for all"
        )
    if settings.is_app and not settings.is_web and wsgi.server == "mod_wsgi":
        yield (
            "wsgi.server: mod_wsgi runs inside the proxy, and this app host has none; choose"
            " gunicorn or uwsgi"
        )
    if settings.backends:
        for prefix, folder in settings.app.static.items():
            if any(_inside(folder, entry) for entry in _shared(settings)):
                yield (
                    f"app.static.{prefix}: {folder} is a shared folder, of which each app host has"
                    " its own; let the application serve it, or keep such files elsewhere"
                )


def _options(settings: "Settings") -> Iterator[str]:
    server = settings.wsgi.server
    if server == "command":  # it has none
        return
    for name, value in settings.wsgi.options.items():
        word = name.replace("_", "-") if server != "gunicorn" else name
        if word in RESERVED_OPTIONS[server]:
            yield f"wsgi.options.{name}: is this tool's to set"
        elif server == "gunicorn" and (
            not name.isidentifier() or keyword.iskeyword(name) or not _is_plain(value)
        ):
            yield (
                f"wsgi.options.{name}: should be a name of gunicorn's settings with a text, number,"
                " true, false, or a list or table of those"
            )
        elif server != "gunicorn" and not _is_line(value, lists=server == "uwsgi"):
            yield (
                f"wsgi.options.{name}: should be a line of text, a"
                f" number{', true, false, or a list of those' if server == 'uwsgi' else ''}"
            )


def _is_literal_call(text: str) -> bool:
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call):
            return False
        for value in (*call.args, *(keyword.value for keyword in call.keywords)):
            ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return False
    return all(keyword.arg for keyword in call.keywords)


def _is_line(value: Any, lists: bool) -> bool:
    """Tell what fits into one line of a configuration file, and into its rules of expansion."""
    if isinstance(value, list):
        return lists and all(_is_line(item, lists=False) for item in value)
    if isinstance(value, str):
        return value.isprintable() and not re.search(r"[%$@]\(|^@|\$\{|%\{|\\$", value)
    return isinstance(value, int) and (lists or not isinstance(value, bool))


def _database(settings: "Settings") -> Iterator[str]:
    db = settings.db
    if settings.can_dump and db.variable in settings.app.env:
        yield (
            f'app.env.{db.variable}: db.kind = "{db.kind}" sets this variable; remove it, or set'
            ' db.kind = "none"'
        )
    if db.kind == "external" and db.snapshot == "always":
        yield (
            "db.snapshot: an external database is dumped by its owner; set db.kind to what this"
            ' tool installs, or db.snapshot = "auto"'
        )
    if settings.has_database_server:
        for key, value in (("name", settings.database_name), ("user", settings.database_user)):
            if value in SERVERS_OWN or value.startswith("pg_"):
                yield f"db.{key}: {value} is the database server's own; choose another"
            elif len(value) > 40:
                yield f"db.{key}: should be at most 40 characters"
    if (
        settings.has_database_server
        and db.driver
        and db.driver not in (*DRIVERS[db.kind], "none")
        and not db.package
    ):
        yield (
            f"db.package: name the package that brings the driver {db.driver}; this tool knows"
            f" {', '.join(DRIVERS[db.kind])}"
        )
    if db.kind != "sqlite":
        return
    if settings.db.path and not settings.db.path.startswith(f"{settings.paths.shared}/"):
        yield (
            f"db.path: should be inside {settings.paths.shared}/, which the application may write"
            " to and which lives across releases"
        )
    if not settings.db.path and "instance" not in _shared(settings):
        yield 'app.shared: should list "instance", where the SQLite file is; or set db.path'


def _folders(settings: "Settings") -> Iterator[str]:
    shared = _shared(settings)
    if settings.app.build and settings.app.static and not settings.is_app:
        yield (
            "app.build: runs where the application does, and this web host would not have what it"
            " writes below app.static; build it before, and send it (app.send)"
        )
    for entry in shared:
        if entry.split("/")[0] in ("secrets.env", ".new"):
            yield f"app.shared: {entry} is this tool's own name there; choose another"
        if any(entry != other and _inside(entry, other) for other in shared):
            yield (
                f"app.shared: {entry} is inside another shared folder, and with it shared already;"
                " remove it"
            )
    for prefix, folder in settings.app.static.items():
        if any(_inside(folder, entry) and folder.rstrip("/") != entry for entry in shared):
            yield (
                f"app.static.{prefix}: {folder} is inside a shared folder; make it a shared folder"
                " of its own, so that the proxy may read it alone"
            )
        if any(
            _inside(entry, folder)
            and _inside(settings.database_file, f"{settings.paths.shared}/{entry}")
            for entry in shared
        ):
            yield f"app.static.{prefix}: {folder} holds the database, which the proxy must not read"
    if len({prefix.rstrip("/") for prefix in settings.app.static}) < len(settings.app.static):
        yield "app.static: two prefixes differ only in a / at the end"


def _names(settings: "Settings") -> Iterator[str]:
    app = settings.app
    if app.send and (app.is_git or app.ref):
        yield (
            "app.send: goes with a working tree, whose files are sent as they are; remove it, or"
            " app.ref, and use a local app.source"
        )
    if app.build_cache and not app.build:
        yield "app.build_cache: goes with app.build, and there is none; remove it"
    for target in app.files:
        if any(_inside(target, entry) for entry in _shared(settings)):
            yield (
                f"app.files.{target}: is inside a shared folder, which is the application's own;"
                " choose another path"
            )
    if settings.app.pending and settings.app.migrate in ("", "auto"):
        yield (
            "app.pending: goes with an app.migrate of your own, and that is"
            f' "{settings.app.migrate}"; set app.migrate to the command that migrates, or remove it'
        )
    if settings.proxy.redirect and "*" in "".join(settings.proxy.domains[:1]):
        yield "proxy.redirect: leads to the first of proxy.domains, and that is a wildcard"
    if settings.proxy.redirect and not settings.proxy.domains:
        yield "proxy.redirect: needs proxy.domains, to whose first name it leads"
    if set(settings.proxy.redirect) & set(settings.proxy.domains):
        yield "proxy.redirect: a name stands in proxy.domains, too"
    if re.match(r"\w+://[^/@]*:[^/@]*@", settings.app.source):
        yield (
            "app.source: a password in a URL is seen by every account of the server; use an ssh"
            " URL, or ~/.netrc of root there"
        )
    if settings.app.name in RESERVED:
        yield (
            f"app.name: {settings.app.name} is a name that the proxies or this tool use themselves;"
            " choose another"
        )
    low, _, high = settings.app.health.status.partition("-")
    if high and int(low) > int(high):
        yield "app.health.status: should be from low to high"


def _proxy(settings: "Settings") -> Iterator[str]:
    proxy = settings.proxy
    if proxy.kind == "none":
        yield from _without_proxy(settings)
    # Beside the one that the site has already, there would be two.
    twice = {
        "strict-transport-security": settings.tls.kind in ("letsencrypt", "files"),
        "cache-control": bool(proxy.cache),
    }
    for name, value in proxy.headers.items():
        if name.lower() in PROXIES_OWN or twice.get(name.lower()):
            yield f"proxy.headers.{name}: is the proxy's or the application's own to set"
        elif "$" in value:
            yield f"proxy.headers.{name}: the proxies take a $ for a variable; write it otherwise"
    if len({name.lower() for name in proxy.headers}) < len(proxy.headers):
        yield "proxy.headers: two names differ only in upper and lower case"
    for network in map(ipaddress.ip_network, proxy.trusted):
        if network.prefixlen < WIDEST[network.version]:
            yield (
                f"proxy.trusted: {network} is everybody, or nearly so, and anybody could say to be"
                " somebody else; name the networks of your balancer alone"
            )


def _without_proxy(settings: "Settings") -> Iterator[str]:
    """Yield what nobody would do, as no proxy of ours is there."""
    given = {
        "app.static": settings.app.static,
        "proxy.redirect": settings.proxy.redirect,
        "proxy.cache": settings.proxy.cache,
        "proxy.headers": settings.proxy.headers,
        "proxy.trusted": settings.proxy.trusted,
        "proxy.auth": settings.proxy.auth,
        "tls.kind": settings.tls.kind != "none",
    }
    for path, value in given.items():
        if value:
            yield (
                f'{path}: is the proxy\'s to do, and proxy.kind is "none"; remove it, and have your'
                " own proxy do it"
            )
    if settings.peers:
        yield (
            'proxy.kind: "none" is for an application on one host; the web hosts of several need'
            " nginx or apache"
        )


def _tls(settings: "Settings") -> Iterator[str]:
    tls, every = settings.tls, (*settings.proxy.domains, *settings.proxy.redirect)
    if tls.kind == "letsencrypt" and not every:
        yield 'tls.kind: "letsencrypt" needs proxy.domains, the names that the certificate is for'
    if tls.kind == "letsencrypt":
        for name in every:
            if "." not in name or re.fullmatch(r"[0-9.]+", name):
                yield f"proxy.domains: Let's Encrypt gives no certificate for {name}"
            elif name.startswith("*.") and not tls.dns:
                yield (
                    f"proxy.domains: {name} cannot be shown to be yours by HTTP, and Let's Encrypt"
                    " gives no certificate for it without tls.dns"
                )
    for key in ("certificate", "key"):
        given = getattr(tls, key)
        if tls.kind == "files" and not given:
            yield f'tls.{key}: is required with tls.kind = "files": the path of a local PEM file'
        elif given and tls.kind != "files":
            yield (
                f'tls.{key}: goes with tls.kind = "files", and it is "{tls.kind}"; remove one of'
                " the two"
            )
    for key in ("acme_server", "acme_ca", "dns"):
        if getattr(tls, key) and tls.kind != "letsencrypt":
            yield (
                f'tls.{key}: goes with tls.kind = "letsencrypt", and it is "{tls.kind}"; remove one'
                " of the two"
            )


def _dns(settings: "Settings") -> Iterator[str]:
    """Yield what certbot's plugin lacks, or has without being asked for."""
    tls = settings.tls
    if tls.dns:
        for option in DNS_NEEDS[tls.dns]:
            if not tls.dns_options.get(option):
                yield (
                    f'tls.dns_options.{option}: certbot\'s plugin for "{tls.dns}" needs it; keep'
                    ' what is secret in .env.deploy: "{deploy.NAME}"'
                )
    elif tls.dns_options:
        yield "tls.dns_options: goes with tls.dns, and there is none; remove one of the two"


def _shared(settings: "Settings") -> list[str]:
    return [entry.rstrip("/") for entry in settings.app.shared]


def _inside(path: str, folder: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def _is_plain(value: Any) -> bool:
    """Tell what Python can read back from its own repr."""
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
