# shellcheck shell=sh
# What starts the application comes through here first (ExecStartPre=+): wait until no window is open and, where a window was cut off,
# put back its code and its database. Argument: the application's folder.
set -u
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

exec 9>>"$gate"
flock 9
# Every start comes through here, and most have nothing to put back: no Python is started for them.
[ ! -e "$transition" ] || exec python3 -I -S "$procedures/window.py" gate "$root"
rm -f "$run/closed" # of one that was killed
