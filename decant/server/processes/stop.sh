# shellcheck shell=sh
# End every process of the application when it has answered; visitors get the maintenance page. Argument: the application's folder.
set -u
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

stop_processes
stop_schedules
maintenance_on
exec 9>>"$gate" # what Apache starts anew waits there
flock 9
close_gate
trap open_gate EXIT
stop_service && end_confined
