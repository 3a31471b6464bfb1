# shellcheck shell=sh
# What starts the application comes through here first (ExecStartPre=+): wait until no window is open and, where a window was cut off,
# put back its code and its database. Argument: the application's folder.
set -u
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

exec 9>>"$gate"
flock 9
waited=no
until heal; do
    code=$?
    [ $code -eq 3 ] || exit $code
    # Several hosts changed versions together, and this one does not know how it ended: whatever it served might be wrong.
    [ $waited = yes ] || { echo "waiting to be told how the window of $healed ended: run the same fab command again"; shut_door; }
    waited=yes
    flock -u 9
    sleep 1
    flock 9
done
rm -f "$run/closed" # of one that was killed
[ $waited = no ] || open_door
