# shellcheck shell=sh
# Ask the site for health through its proxy: `health SECONDS` once, or `probe SECONDS` again and again until standard input ends, counting what is lost.
# Arguments: the application's folder, the word, how long a request may wait.
set -u
root=$1
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

case $2 in
health) ask_health proxy "$3" && echo healthy ;;
probe)
    # Also where a site asks its visitors for a password.
    token=$(new_token)
    trap 'rm -f "$run/probes/$token"' EXIT
    DECANT_PROBE=$token python3 -I "$procedures/probe.py" "$(health_of "$(serving)")" "$health_host" "$(scheme)" "$3"
    ;;
esac
