# shellcheck shell=sh
# Hold an application's lock for one command, as long as the client is heard from.
# Arguments: the lock file, who holds it and for what (one line), and a token that only this command knows. Standard input: a byte every few seconds; when it ends, or nothing
# comes for 15 s (a killed client, a closed lid, a cut network), the lock is free. Prints `held`, or `busy` and who holds it.
set -u
lock=$1 details=$2 token=$3
umask 022
mkdir -p "${lock%/*}"
exec 9>>"$lock"
if ! flock -x -n 9; then
    printf 'busy\t%s\n' "$(head -n 1 "$lock.details" 2>/dev/null)"
    exit 75
fi
printf '%s\n%s\n' "$details" "$token" >"$lock.details"
# Shared from now on: programs and windows of this command take a share of their own, so what outlives a dead client keeps others out.
if ! flock -s -n 9; then
    printf 'busy\t%s\n' "$(head -n 1 "$lock.details")"
    exit 75
fi
echo held
while [ -n "$(timeout 15 head -c 1 9>&- | od -An -tx1)" ]; do :; done
