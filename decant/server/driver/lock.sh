# shellcheck shell=sh
# Hold an application's lock for one command, as long as the client is heard from.
# Arguments: the lock file, who holds it and for what (one line), and a token that only this command knows. Standard input: a byte every few seconds; when it ends, or nothing
# comes for 15 s (a killed client, a closed lid, a cut network), the lock is free. Prints `held`, or `busy` and who holds it.
set -u
lock=$1 details=$2 token=$3
# root's alone: who can open a lock file can hold it, and keep every command out.
umask 077
mkdir -p "${lock%/*}"
chmod 0700 "${lock%/*}"
busy() {
    printf 'busy\t%s\n' "$(head -n 1 "${lock%.client}.details" 2>/dev/null)"
    exit 75
}

# As long as the client is heard from, and not one moment longer: whoever ends what a dead client left open takes this one (decant/operations/release/joint_window.py).
exec 7>>"$lock.client" 9>>"$lock"
chmod 0600 "$lock" "$lock.client"
flock -x -n 7 || busy
flock -x -n 9 || busy
printf '%s\n%s\n' "$details" "$token" >"$lock.details"
chmod 0600 "$lock.details"
# Shared from now on: programs and windows of this command take a share of their own, so what outlives a dead client keeps others out.
flock -s -n 9 || busy
echo held
while [ -n "$(timeout 15 head -c 1 7>&- 9>&- | od -An -tx1)" ]; do :; done
