# shellcheck shell=sh
# After a window: remove what nobody needs any more (releases beyond `keep` good ones, environments without a release, old dumps and logs),
# and note that a client knows its verdict, unless seen.sh does that later. Parameters: root, seen (windows, by id), keep, keep_dumps.
set -u
# shellcheck source=/dev/null
. "$1"
: "${root:?}" "${seen?}" "${keep:?}" "${keep_dumps:?}"
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"

# A power cut may have kept a verdict, and not its line of the history.
for result in "$root"/log/*.result; do
    window=$(basename "$result" .result)
    [ ! -e "$result" ] || [ -e "$root/log/$window.seen" ] || grep -qsF "\"when\": \"$window\"" "$root/deploys.jsonl" || python3 -I -S "$procedures/window.py" note "$root" "$window"
done

newest_first() { # newest_first PATTERN...: names sort by time
    for path in "$@"; do [ ! -e "$path" ] || printf '%s\n' "${path##*/}"; done | sort -r
}

current=$(serving)
good=0 others=0 previous=
for release in $(newest_first "$releases"/2*); do
    state=$(state_of "$release")
    [ "$release" != "$current" ] || { good=$((good + 1)); continue; }
    if [ "$state" = good ]; then
        good=$((good + 1))
        # The newest good one beside the current is what rollback goes to: it stays whatever `keep` says.
        [ -n "$previous" ] || { previous=$release; continue; }
        [ $good -gt "$keep" ] || continue
    else
        others=$((others + 1))
        [ $good -ge "$keep" ] || [ $others -gt "$keep" ] || continue
    fi
    say "removed release $release ($state)"
    rm -rf "${releases:?}/$release"
done
list_releases
rm -rf "$releases"/.part-* "$root"/backups/.restore-* "$root"/backups/.dump-* "$root"/backups/.verify-* "$root"/backups/*.part "$root/reserve"

for environment in "$root"/venvs/*/; do
    environment=$(basename "$environment")
    used=no
    for link in "$releases"/*/.deploy/venv; do
        [ "$(basename "$(readlink "$link")")" != "$environment" ] || used=yes
    done
    [ $used = yes ] || [ "$environment" = '*' ] || rm -rf "$root/venvs/${environment:?}"
done

newest_first "$root"/backups/2*.sqlite3.gz "$root"/backups/2*.sql.gz "$root"/backups/2*.dump | tail -n "+$((keep_dumps + 1))" | while IFS= read -r dump; do rm -f "$root/backups/$dump"; done
newest_first "$root"/log/*.params | tail -n +51 | while IFS= read -r window; do rm -f "$root/log/${window%.params}".*; done

# The last thing: the same command, run again as its message asks where this did not come to its end, is told what it has done. And a window
# without a verdict, which a full disk may have taken, gets one then.
for id in $seen; do [ ! -e "$root/log/$id.result" ] || : >"$root/log/$id.seen"; done
