# shellcheck shell=sh
# Run restic with what says where the copies are and opens them; runs in its sandbox, as its account. Arguments: the folder of that, the cache's folder, restic's words.
set -u
folder=$1 cache=$2
shift 2
set -a
# shellcheck source=/dev/null
. "$folder/env"
set +a
if [ -e "$folder/key" ]; then
    # As one line, which restic takes apart at its spaces; the storage's host key is known, or nothing is sent.
    set -- -o "sftp.command=ssh -F none -i $folder/key -o IdentitiesOnly=yes -o UserKnownHostsFile=$folder/known_hosts -o StrictHostKeyChecking=yes -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 -p ${SFTP_PORT:?} ${SFTP_LOGIN:?} -s sftp" "$@"
fi
exec restic --cache-dir "$cache" "$@"
