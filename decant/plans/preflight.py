"""What is looked at before anything is changed.

Each check raises one line, or a notice says what will happen.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from decant.errors import DeployError
from decant.paths import Paths
from decant.plans import app, processes, python, stack, system, tls

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts


def check(settings: "Settings", facts: "Facts", by_password: bool) -> tuple[str, ...]:
    """Return the notices for a deploy that begins; `by_password`: this login has no key.

    Raises DeployError for what must not be begun.
    """
    refuse_conflicts(settings, facts)
    refuse_unreachable(settings, facts)
    refuse_lockout(settings, by_password)
    return tuple(_notices(settings, facts))


def _notices(settings: "Settings", facts: "Facts") -> Iterator[str]:
    gives_way = stack.proxy_to_replace(settings, facts)
    if gives_way:
        yield (
            f"{gives_way} serves nothing but {settings.app.name} here and is replaced by"
            f" {settings.proxy.kind}: it is stopped and disabled"
        )
    if facts.hsts and settings.tls.kind not in ("letsencrypt", "files"):
        yield (
            "tls.kind: browsers that have seen this site were told to insist on HTTPS with a"
            " certificate that they trust, for two years (HSTS); they will not show it otherwise"
        )
    kept = tls.missing_local_file(settings, facts)
    if kept:
        yield (
            f"tls.{kept}: there is no such file here; the certificate and key on the server stay as"
            " they are"
        )
    found = system.foreign_listeners(settings, facts)
    if found and settings.system.firewall == "auto":
        yield (
            f"no firewall: {', '.join(found)} listen publicly and would be cut off; add them to"
            " system.allow, or set system.firewall = true"
        )


def refuse_lockout(settings: "Settings", by_password: bool) -> None:
    """Raise DeployError where hardening sshd would shut out the very login that does it."""
    if settings.system.harden.ssh and by_password:
        raise DeployError(
            "system.harden: this login uses a password, which it would shut out; put a key on the"
            " server first"
        )


def refuse_older(settings: "Settings", facts: "Facts") -> None:
    """Raise DeployError for a server that an older version set up.

    Its procedures would do as root what is the application's.
    """
    if settings.is_app and not facts.builder:
        raise DeployError(
            "an older version set this server up, and what touches the application has accounts and"
            " sandboxes of its own now; run: fab deploy"
        )


def refuse_another_database(settings: "Settings", facts: "Facts") -> None:
    """Raise DeployError where hosts.toml names another database than the one that the release that
    serves has its rows in.
    """
    used = next(
        (
            found.get("database")
            for found in facts.manifests
            if found.get("name") == settings.app.name
        ),
        None,
    )
    if not facts.current or not isinstance(used, dict):
        return
    keys = (
        ("kind", "name", "user", "path", "where")
        if settings.has_database_server
        else ("kind", "name", "user", "path")
    )
    theirs, ours = (
        [table.get(key, "") for key in keys] for table in (used, app.database_of(settings))
    )
    if theirs != ours:
        words = [" ".join(dict.fromkeys(filter(None, table))) for table in (theirs, ours)]
        raise DeployError(
            f"[db]: the rows of {settings.app.name} are in {words[0]}, and hosts.toml names"
            f" {words[1]}, where there are none: rows do not move by themselves. Put [db] back; or"
            " begin anew: fab destroy keeps a last dump, then fab deploy"
        )


def refuse_conflicts(settings: "Settings", facts: "Facts") -> None:
    """Raise DeployError where our name, our folder, our domain, or the site without a domain is
    somebody else's.
    """
    refuse_another_database(settings, facts)
    name = settings.app.name
    ours = next((found for found in facts.manifests if found.get("name") == name), None)
    if ours is None and (taken := facts.unit or (f"an account {name}" if facts.account else "")):
        raise DeployError(
            f"app.name: the server has {taken}, which is not this tool's; choose another name"
        )
    if ours is None and facts.group:
        raise DeployError(
            f"app.name: the server has a group {name}, which is not this tool's; choose another"
            " name"
        )
    if ours is not None and ours.get("root") != settings.paths.root:
        raise DeployError(
            f"app.root: {name} is in {ours['root']} on this server; moving it is not built: set"
            " app.root to that"
        )
    _refuse_foreign_builder(settings.paths, facts.builder)
    bound = ours.get("binds", ()) if ours else ()
    if (
        settings.is_app
        and settings.bind
        and settings.bind not in bound
        and _listens(settings.bind, facts)
    ):
        raise DeployError(
            f"wsgi.bind: something listens on {settings.bind} of this server already; choose"
            " another port"
        )
    if settings.is_web:
        refuse_displacement(settings, facts)
        refuse_other_sites(settings, facts)
    others = [other for other in facts.manifests if other is not ours]
    _refuse_taken_units(settings, facts)
    for other in facts.manifests:
        _refuse_builder(settings.paths, str(other.get("name")))
    if found := [line for other in others for line in _overlaps(settings, facts, other)]:
        raise DeployError("\n".join(found))


def _refuse_taken_units(settings: "Settings", facts: "Facts") -> None:
    """Raise DeployError where a unit or a program of what runs beside the service is there already,
    and nobody's of ours.
    """
    known = {str(file) for found in facts.manifests for file in found.get("files", ())}
    for path, key in processes.files(settings).items():
        if path in facts.named and path not in known:
            raise DeployError(
                f"{key}: the server has {path}, which is not this tool's; choose another name, or"
                " take that away"
            )


def _overlaps(settings: "Settings", facts: "Facts", other: Mapping[str, Any]) -> Iterator[str]:
    """Yield what another application on the server has that would be ours."""
    if _nested(settings.paths, str(other.get("root", ""))):
        yield (
            f"app.root: {settings.paths.root} and {other['root']} of {other['name']} overlap;"
            " choose another folder"
        )
    # A first deploy that failed before its site was there answers to nothing.
    serves = not stack.sites(str(other["name"])).isdisjoint(facts.sites)
    if (
        settings.is_web
        and serves
        and (
            both := {*settings.proxy.domains, *settings.proxy.redirect}
            & set(map(str, other.get("domains", ())))
        )
    ):
        yield (
            f"proxy.domains: {', '.join(sorted(both))} is served by {other['name']} on this server;"
            " remove it on one side"
        )
    if (
        settings.is_web
        and serves
        and not settings.proxy.domains
        and other.get("proxy", "nginx")
        and not other.get("domains")
    ):
        yield (
            f"proxy.domains: {other['name']} on this server already answers to any name; give this"
            " application a domain"
        )
    if settings.bind in map(str, other.get("binds", ())):
        yield (
            f"wsgi.bind: {settings.bind} is where {other['name']} listens on this server; choose"
            " another port"
        )
    # Also a unit or program that our name would have, and that runs beside the other's service.
    mine = dict.fromkeys(app.own_files(settings), "app.name") | processes.files(settings)
    for path in map(str, other.get("files", ())):
        if key := mine.get(path):
            yield f"{key}: {path} is {other['name']}'s on this server; choose another name"
    theirs = other.get("database") or {}
    same = (
        settings.has_database_server
        and settings.is_db
        and theirs.get("kind") == settings.db.kind
        and not theirs.get("where")
    )
    if same and {settings.database_name, settings.database_user} & {theirs["name"], theirs["user"]}:
        yield (
            f"db.name: {other['name']} on this server has the database {theirs['name']}; choose"
            " another db.name and db.user"
        )


def _refuse_foreign_builder(paths: Paths, home: str) -> None:
    """Raise DeployError where the account of builds is somebody else's.

    Its home is not where ours is.
    """
    if home and home != f"{paths.build}/home":
        raise DeployError(
            f"app.name: the server has an account {paths.builder}, which is not this tool's (its"
            f" home is {home}); choose another name, or remove it"
        )


def _refuse_builder(paths: Paths, other: str) -> None:
    """Raise DeployError where one application has the name of the account that builds the other's
    environments.
    """
    for builds, name in ((paths.name, other), (other, paths.name)):
        if Paths(builds, "").builder == name:
            raise DeployError(
                f"app.name: {name} is the account that builds the environments of {builds} on this"
                " server; choose another name"
            )


def _nested(paths: Paths, other: str) -> bool:
    ours, theirs = f"{paths.root}/", f"{other}/"
    return ours.startswith(theirs) or theirs.startswith(ours)


def _listens(bind: str, facts: "Facts") -> bool:
    port = bind.rpartition(":")[2]
    return any(
        listener in (f"{bind}/tcp", f"0.0.0.0:{port}/tcp", f"*:{port}/tcp", f"[::]:{port}/tcp")
        for listener in facts.listeners
    )


def refuse_displacement(settings: "Settings", facts: "Facts") -> None:
    """Raise DeployError where the chosen proxy cannot have its port.

    The other one serves more than this application, or a stranger holds it.
    """
    kind = settings.proxy.kind
    ours, other, folder = (
        ("nginx", "apache2", "/etc/apache2/")
        if kind == "nginx"
        else ("apache2", "nginx", "/etc/nginx/")
    )
    secure = settings.tls.kind != "none" and any(
        listener.endswith(":443/tcp") for listener in facts.listeners
    )
    if (
        secure
        and ours not in facts.secure
        and not (other in facts.secure and stack.proxy_to_replace(settings, facts))
    ):
        raise DeployError(
            f"tls.kind: something that is not {ours} listens on port 443 of this server, so {ours}"
            " cannot; stop it first"
        )
    if ours in facts.proxies:
        return
    known = stack.STOCK_SITES | stack.sites(settings.app.name)
    strange = [site for site in facts.sites if site.startswith(folder) and site not in known]
    if stack.proxy_to_replace(settings, facts) and strange:
        keep = "apache" if kind == "nginx" else "nginx"
        raise DeployError(
            f"proxy.kind: {other} on this server serves others, too ({', '.join(strange)}), so"
            f' {ours} cannot take its place; set proxy.kind = "{keep}", or move them first'
        )
    if other not in facts.proxies and any(
        listener.endswith(":80/tcp") for listener in facts.listeners
    ):
        raise DeployError(
            "proxy.kind: something that is neither nginx nor Apache listens on port 80 of this"
            f" server, so {ours} cannot; stop it first"
        )


def refuse_other_sites(settings: "Settings", facts: "Facts") -> None:
    """Raise DeployError where a site that was made by hand answers to our names, or to any name."""
    if settings.proxy.kind == "nginx" and facts.nginx_layout:
        raise DeployError(
            "proxy.kind: nginx on this server is not laid out as Debian's and Ubuntu's: its"
            " nginx.conf does not include sites-enabled (nginx.org's own package?). Have it include"
            " /etc/nginx/sites-enabled/* and /etc/nginx/modules-enabled/*.conf, as theirs does, or"
            " replace it with the distribution's"
        )
    ours = {settings.app.name, *(str(found.get("name")) for found in facts.manifests)}
    known = set[str]().union(*(stack.sites(name) for name in ours))
    folder = f"/etc/{'nginx' if settings.proxy.kind == 'nginx' else 'apache2'}/"
    wanted = {name.lower() for name in (*settings.proxy.domains, *settings.proxy.redirect)}
    for file, *names in facts.claims:
        if file in known or not file.startswith(folder):
            continue
        if both := wanted.intersection(names):
            raise DeployError(
                f"proxy.domains: {', '.join(sorted(both))} is served by {file} on this server,"
                " which is not this tool's; take the name out of it, or the file away, and run it"
                " again"
            )
        if not wanted and "default_server" in names:
            raise DeployError(
                f"proxy.domains: {file} on this server, which is not this tool's, answers to any"
                " name (default_server); give this application a domain, or take that file away"
            )


def refuse_unreachable(settings: "Settings", facts: "Facts") -> None:
    """Raise DeployError where the wanted Python cannot come onto the server, or mod_wsgi cannot
    take it.
    """
    wanted = settings.python.version
    if not settings.is_app or python.is_distributions(settings, facts):
        return
    has = (
        facts.python
        or facts.distro_python
        or python.PYTHON_VERSIONS.get(facts.codename, "another one")
    )
    if settings.wsgi.server == "mod_wsgi":
        raise DeployError(
            f"python.version: {facts.os_name} builds mod_wsgi for its own Python ({has}) only, not"
            f" for {wanted}; remove python.version, or choose gunicorn or uwsgi"
        )
    if wanted not in facts.pythons and facts.managed_python != "yes":
        raise DeployError(
            f"python.version: {facts.os_name} has Python {has} and no {wanted}, and uv's builds"
            " cannot be fetched from this server (github.com does not answer, and /etc/uv/uv.toml"
            " there names no mirror); use the distribution's, or let the server reach one of them"
        )
