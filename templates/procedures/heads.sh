# shellcheck shell=sh
# Tell the migration head of a release's code (target_head) and of the database (database_head), and the newest dump made when the database
# left that release (dump). Parameters: root, current, target, wsgi_app, migrate.
set -u
# shellcheck source=/dev/null
. "$1"
: "${root:?}" "${current:?}" "${target:?}" "${wsgi_app:?}" "${migrate?}"
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"
export DECANT_SMOKE=1

folder=$(cat "$releases/$current/.deploy/folder")
code_head='' database_head=''
if [ "$migrate" = auto ] && [ -d "$releases/$current/$folder/migrations" ]; then
    look "$current" yes
    database_head=$database_heads
    code_head=$(cat "$releases/$target/.deploy/heads" 2>/dev/null)
fi
dump=''
for candidate in "$root"/backups/*-"$target"."$(database suffix | cut -c 2-)"; do [ ! -e "$candidate" ] || dump=$candidate; done
value target_head "$code_head"
value database_head "$database_head"
value dump "$dump"
