# shellcheck shell=sh
# Start what runs beside the service anew, after a change of what keeps it or of its variables; each process has to stay up. Argument: the
# application's folder.
set -u
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

systemctl daemon-reload
for process in $(listed_beside process | cut -d' ' -f1); do
    ! under_supervisor "$process" || { await_supervisor; supervisorctl reread && supervisorctl update "$name-$process"; } >/dev/null
done
stop_processes || fail "the processes beside the service do not stop"
start_processes
# Before the first release there is nothing to start.
[ -z "$(serving)" ] || python3 -I -S "$procedures/window.py" stay "$root"
