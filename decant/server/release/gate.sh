# shellcheck shell=sh
# What starts the application comes through here first (ExecStartPre=+): wait until no window is open and, where a window was cut off,
# put back its code and its database. Arguments: the application's folder; `process` for one beside the service: a window that has it on trial lets it in.
set -u
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

if [ "${2:-}" = process ] && [ -e "$run/trial" ]; then exit 0; fi
exec 9>>"$gate"
flock 9
# Every start comes through here, and most have nothing to put back: no Python is started for them.
[ ! -e "$transition" ] || exec python3 -I -S "$procedures/window.py" gate "$root"
rm -f "$run/closed" # of one that was killed
