# shellcheck shell=sh
# A process of the application under supervisor. Arguments: the application's folder, the process's number; beside the service, which process.
# Process 0 of the service keeps the group, and with it the socket, alive; process 1 is the application. supervisor hands the socket over as standard input; to the WSGI server it is
# shown in systemd's way: as `fd://0` gunicorn would take it for its own and unlink it when it stops.
set -u
root=$1 beside=${3:-}
[ "$2" = 1 ] || exec sleep infinity
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

sh "$procedures/gate.sh" "$root" ${beside:+process} 0</dev/null || { sleep 1; exit 1; }
umask 027
as_application() { # as_application COMMAND...: become it, with the application's account
    exec setpriv --reuid="$user" --regid="$user" --init-groups --no-new-privs -- \
        env -i PATH="$PATH" HOME="$root" LANG=C.UTF-8 "$@" 0</dev/null
}
[ -z "$beside" ] || as_application /usr/bin/python3 -I -S "$procedures/process.py" "$root" "$run" processes "$beside"
# Before the first release, and while Apache serves the application itself, there is nothing to start.
case $(server_of_current) in '' | mod_wsgi | none) exec sleep infinity ;; esac
as_application LISTEN_FDS=1 /usr/bin/python3 -I -S "$procedures/launcher.py" "$root" "$run" 3<&0
