# shellcheck shell=sh
# Run a command while nothing is under way in the application's daemon processes in Apache: visitors get the maintenance page, what they
# asked for is finished, and what Apache starts anew waits. Arguments: the application's folder, the command.
set -u
root=$1
shift
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

exec 9>>"$gate"
flock 9
close_gate
maintenance_on
end_daemons
"$@"
code=$?
sleep 1 # a reload returns before the new processes serve
open_gate
maintenance_off
exit $code
