# shellcheck shell=sh
# What starts the application comes through here first (ExecStartPre=+): wait until no window is open and, where a window was cut off,
# put back its code and its database. Argument: the application's folder.
set -u
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

exec 9>>"$gate"
flock 9
[ -e "$transition" ] || exit 0
put_back || exit 1
# shellcheck source=/dev/null
. "$root/log/${id:?}.params"
finish failed "the window was cut off (killed, or a power cut); the old release and its database were put back"
