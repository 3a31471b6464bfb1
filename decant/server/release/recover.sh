# shellcheck shell=sh
# The end of every window, also of a killed one (ExecStopPost; follow.sh calls it for one that a power cut ended): no transition stays open, and the application runs.
# Arguments: the application's folder, the window's id.
set -u
root=$1 id=$2
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"
# shellcheck source=/dev/null
. "$root/log/$id.params"

exec 9>>"$gate"
flock 9
cut="the window was cut off (${SERVICE_RESULT:-killed})"
# Its migration does not hold the gate's lock, and may live.
[ ! -e "$transition" ] || end_confined || exit 1
heal
case $? in
0) ;;
3)
    shut_door # until a client says how it ended for the others
    exit 0 ;;
*) exit 1 ;;
esac
reload=no
if [ -e "$root/log/$id.result" ]; then
    : # it came to its end, or was healed just now
elif [ ! -e "$root/log/$id.opened" ]; then
    finish "$id" failed "$cut before it changed anything"
elif [ -e "$root/log/$id.back" ]; then
    stop_service
    switch_to "${old:?}" || exit 1
    reload=yes
    finish "$id" failed "$cut while the old release came back, as its health check through the proxy failed; the old one serves"
elif [ "$(readlink "$root/current")" != "releases/${new:?}" ] || [ "$(state_of "$new")" != good ]; then
    finish "$id" failed "$cut before it changed anything"
else
    # No record and no verdict: it was cut off after its commit point.
    reload=yes
    [ "${rolled_back:-no}" = no ] || set_state "$old" rolled-back
    finish "$id" good "$cut after its commit point; the new release serves"
fi
open_gate
start_service no
open_door
# Only then: a reload closes the idle connections of visitors.
[ $reload = no ] || ! check_proxy || reload_proxy
