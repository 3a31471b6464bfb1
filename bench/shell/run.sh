#!/bin/sh
# run.sh KEY ADDRESS:PORT...: deploy.sh over one ssh connection a server, side by side; it travels as a tar with its two files.
set -eu
key=$1 pids=
shift
cd "$(dirname "$0")/.."
for server; do
    tar -cf - shell/deploy.sh files | ssh -i "$key" -p "${server#*:}" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
        "root@${server%:*}" 'd=$(mktemp -d) && tar -C $d -xf - && mv $d/files/* $d/shell/ && sh $d/shell/deploy.sh; r=$?; rm -rf $d; exit $r' &
    pids="$pids $!"
done
for pid in $pids; do wait "$pid" || exit 1; done
