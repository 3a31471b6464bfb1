# shellcheck shell=sh
# Tell the migration head of a release's code (target_head) and of the database (database_head), and the dump that fits that release (dump). Parameters: root, current, target, wsgi_app, migrate.
set -u
# shellcheck source=/dev/null
. "$1"
: "${root:?}" "${current:?}" "${target:?}" "${wsgi_app?}" "${migrate?}"
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"
export DECANT_SMOKE=1

code_head='' database_head=''
# A release without migrations has no heads; one of before has no such file, and one that was made ready while app.migrate was another has none in it.
if [ "$migrate" = auto ] && { [ "$current" = "$target" ] || [ -n "$(cat "$releases/$current/.deploy/heads" "$releases/$target/.deploy/heads" 2>/dev/null)" ]; }; then
    code_head=$(cat "$releases/$target/.deploy/heads" 2>/dev/null)
    import_release "$current" yes "$code_head"
    database_head=$database_heads
    if [ "$current" = "$target" ] && [ -z "$code_head" ]; then code_head=$code_heads; fi
fi
# The newest dump of a database that was where the target's code wants it: of the target itself, or of a release after it that came without a migration.
dump=''
for candidate in "$root"/backups/2*"$(database suffix)"; do
    [ -e "$candidate" ] || continue
    of=$(basename "$candidate" "$(database suffix)")
    of=${of#*-}
    if [ "$of" = "$target" ] || { [ -n "$code_head" ] && [ "$(cat "$releases/$of/.deploy/heads" 2>/dev/null)" = "$code_head" ]; }; then dump=$candidate; fi
done
value target_head "$code_head"
value database_head "$database_head"
value dump "$dump"
