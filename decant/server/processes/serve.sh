# shellcheck shell=sh
# A process of the application under supervisor. Arguments: the application's folder, the process's number. Process 0 keeps the group, and
# with it the socket, alive; process 1 is the application. supervisor hands the socket over as standard input; to the WSGI server it is
# shown in systemd's way: as `fd://0` gunicorn would take it for its own and unlink it when it stops.
set -u
root=$1
[ "$2" = 1 ] || exec sleep infinity
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

sh "$procedures/gate.sh" "$root" 0</dev/null || { sleep 1; exit 1; }
# Before the first release, and while Apache serves the application itself, there is nothing to start.
case $(server_of_current) in '' | mod_wsgi | none) exec sleep infinity ;; esac
umask 027
exec setpriv --reuid="$user" --regid="$user" --init-groups --no-new-privs -- \
    env -i PATH="$PATH" HOME="$root" LANG=C.UTF-8 LISTEN_FDS=1 /usr/bin/python3 -I -S "$procedures/launcher.py" "$root" "$run" 3<&0 0</dev/null
