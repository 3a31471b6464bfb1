# shellcheck shell=sh
# Bring the application up under the manager whose configuration is there, and take the other one out of the way; ask it for health. The
# socket stays open where the manager stays. Runs after a change of the configuration, after one was put back, and for `restart`.
# Arguments: the application's folder; `changed` where the socket may move: then the proxy, which has to follow it, must be able to; `same` where
# nothing of the configuration changed: then the release starts beside itself, where it may, and nobody waits for it; `all`: the same, and the
# processes beside the service start anew, too.
set -u
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

restarted() { # restarted WORD: the service is; with `all` what runs beside it follows
    case $1 in all) exec sh "$procedures/processes.sh" "$root" ;; *) exit 0 ;; esac
}

case ${2:-} in same | all)
    said=$(python3 -I -S "$procedures/window.py" restart "$root") && restarted "$2"
    code=$?
    [ $code -eq 3 ] || fail "$(printf '%s\n' "$said" | tail -n 1); what served goes on"
    say "$said"
    release=$(serving)
    why=$([ -z "$release" ] || cannot_serve "$release")
    [ -z "$why" ] || fail "$why; what served goes on"
    file=$(edited)
    [ -z "$file" ] || [ "$(main_pid)" = 0 ] || fail "$file was changed by hand, and what stops might not start again by it; run: fab deploy, which writes it anew and keeps a copy; what served goes on" ;;
esac
if [ "${2:-}" = changed ]; then check_proxy || fail "$(proxy) does not take its own configuration: $(proxy) -t says why"; fi

# An application that is not well already cannot show whether the change is good; it is let through, for a fix may need it.
before=unwell
if [ -n "$(server_of_current)" ] && ask_health proxy 5 >/dev/null 2>&1; then before=well; fi

case $(manager) in
supervisor)
    systemctl stop "$service" "$socket_unit" 2>/dev/null
    systemctl daemon-reload # it forgets units whose files are gone only then
    await_supervisor
    if ! { supervisorctl reread >/dev/null && supervisorctl update "$name" && supervisorctl start "$name:0" && supervisorctl restart "$name:1"; }; then
        fail "supervisor does not take $name: supervisorctl tail $name:1"
    fi ;;
systemd)
    ! systemctl -q is-active supervisor || { await_supervisor; supervisorctl update "$name"; }
    # A socket that is open elsewhere has to be opened anew; after the daemon-reload systemd would only tell where it should be.
    case "$(systemctl show --property=Listen --value "$socket_unit") " in
    "$(cat "$procedures/listen") "* | ' ') ;;
    *) systemctl stop "$service" "$socket_unit" ;;
    esac
    systemctl daemon-reload
    if ! { systemctl enable -q "$socket_unit" "$service" && systemctl start "$socket_unit"; }; then
        fail "systemd does not take $name: systemctl status $socket_unit"
    fi
    case $(server_of_current) in
    '' | mod_wsgi | none) ;;
    *) systemctl restart "$service" || fail "$service does not start: journalctl -u $name" ;;
    esac ;;
esac
[ "$(server_of_current)" != mod_wsgi ] || end_daemons
if [ $before = well ]; then said=$(ask_service "$health_timeout") || fail "the health check after the restart failed: $said"; fi
restarted "${2:-}"
