# shellcheck shell=sh
# What starts the application comes through here first (ExecStartPre=+): wait until no window is open and, where a window was cut off,
# put back its code and its database. Argument: the application's folder.
set -u
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

exec 9>>"$gate"
flock 9
heal
