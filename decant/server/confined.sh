# shellcheck shell=sh
# The one way in which anything of ours touches what an application, its repository or its dependencies control: as an account that owns nothing else, in a sandbox,
# as a unit of its own that ends with every process in it. What is run so is in the folder `inside` of the procedures' source, or the application's own.
# Arguments: the application's folder; whose sandbox (`application`: the service's account and sandbox; `build`: NAME-build's; `backup`: restic's; see the files sandbox.*); a word for the unit's
# name, NAME.WORD.ID.service; the seconds that it may take (0: no limit); further properties of the unit, each behind -p; the command.
# Ends with the command's exit code. Standard input, output and error are the caller's.
set -u
root=$1 whose=$2 word=$3 limit=$4
shift 4
# shellcheck source=/dev/null
. "$root/procedures/app.conf"
read -r id </proc/sys/kernel/random/uuid
case $whose in
application) home=$root ;;
build) home=$root/build/home ;;
backup) home=/nonexistent ;;
*) exit 64 ;;
esac

stdio=--pipe
if [ -t 0 ] && [ -t 1 ]; then stdio=--pty; fi
given=$#
# The unit's properties are appended behind the caller's words, which then move behind them.
while IFS= read -r line; do
    case $line in '' | '#'*) ;; *) set -- "$@" "--property=$line" ;; esac
done <"$root/procedures/sandbox.$whose"
while [ "$1" = -p ]; do
    set -- "$@" "--property=$2"
    shift 2
    given=$((given - 2))
done
set -- "$@" --property=TimeoutStopSec=10 --property=KillMode=control-group -- \
    /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="$home" LANG=C.UTF-8 TERM="${TERM:-dumb}" DECANT_SMOKE="${DECANT_SMOKE:-}" \
    /bin/sh "$root/procedures/ended.sh"
while [ $given -gt 0 ]; do
    argument=$1
    shift
    # systemd puts variables in place of $NAME.
    case $argument in *\$*)
        argument=$(printf '%s.' "$argument" | sed 's/\$/$$/g')
        argument=${argument%.} ;;
    esac
    set -- "$@" "$argument"
    given=$((given - 1))
done
[ "$limit" = 0 ] || set -- --property=RuntimeMaxSec="$limit" "$@"
# Newer ones would colour the terminal and name its window; the command has been given its own TERM above.
export TERM=dumb SYSTEMD_TINT_BACKGROUND=0 SYSTEMD_ADJUST_TERMINAL_TITLE=0
exec systemd-run --quiet --wait --collect $stdio --service-type=exec --unit="${name:?}.$word.$id.service" --description="$name ($word)" "$@"
