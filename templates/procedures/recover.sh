# shellcheck shell=sh
# The end of every window, also of a killed one (ExecStopPost): no transition stays open, and the application runs.
# Arguments: the application's folder, the window's id.
set -u
root=$1 id=$2
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"
# shellcheck source=/dev/null
. "$root/log/$id.params"

exec 9>>"$gate"
flock 9
if [ -e "$transition" ]; then
    put_back || exit 1
    finish failed "the window was cut off (${SERVICE_RESULT:-killed}); the old release and its database were put back"
elif [ ! -e "$root/log/$id.result" ]; then
    if [ "$(readlink "$root/current")" = "releases/${new:?}" ]; then
        set_state "$new" good
        finish good "the window was cut off (${SERVICE_RESULT:-killed}) after its commit point; the new release serves"
    else
        finish failed "the window was cut off (${SERVICE_RESULT:-killed}) before it changed anything"
    fi
fi
rm -f "$run/maintenance"
flock -u 9
[ ! -e "$root/current" ] || systemctl start --no-block "$name.service"
