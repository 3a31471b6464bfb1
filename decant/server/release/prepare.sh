# shellcheck shell=sh
# Make a release ready while the old one serves: fetch, export, environment, import, pending migrations and, where none wait, a smoke test.
# Parameters: root, id (TIME part of the release's name), kind (git, tar, folder; known: nothing was sent, as a release of this commit may be there), source, ref, commit, label and version (by its tags; known for what was sent),
# subdir, rendered (a digest of the files below), shared (a path a line), shared_files (those of them that are files where nothing is there yet), public (those of them that the proxy serves), static (the folders of the repository that it serves),
# private (files that hosts.toml names: no part of a release), named (KEY, a tab, and the path in the repository that it names, a line each), server (none: the application does not
# run here), wsgi_app, migrate (auto, a command, or nothing), ask_pending (a command: exit code 0 where it has nothing to do; or nothing), dotenv,
# only (environment: nothing but that, on a new server, beside other steps; or nothing).
# The release's rendered files are beside the parameters, in deploy.tar; a source that was sent is source.tar, or the folder itself.
# Tells: result (current, prepared, absent), release, old, commit, pending, smoked (its health was checked), start_first (it may start beside the old one), heads.
set -u
here_files=$(dirname "$1")
# shellcheck source=/dev/null
. "$1"
: "${here:?}" "${root:?}" "${id:?}" "${kind:?}" "${source?}" "${ref?}" "${commit?}" "${label?}" "${version?}" "${subdir?}" "${rendered:?}" "${shared?}" "${shared_files?}" "${public?}" "${static?}" "${private?}" "${named?}" "${server:?}" "${wsgi_app?}" "${migrate?}" "${ask_pending?}" "${only?}"
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"
# shellcheck source=release/source.sh
. "$root/procedures/source.sh"
export DECANT_SMOKE=1 GIT_TERMINAL_PROMPT=0 HOME="${HOME:-/root}" GIT_CONFIG_NOSYSTEM=1 GIT_ATTR_NOSYSTEM=1
export GIT_SSH_COMMAND="ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15"
part='' beside=$releases/.part-environment
trap '[ -z "$part" ] || { rm -rf "$part"; list_releases; }' EXIT

environment() { # environment name|build TREE COMMIT: the name of the tree's environment; `build` makes it where it is missing
    # Imported, so that Python keeps it compiled.
    python3 -I -S -c 'import sys; sys.path.insert(0, sys.argv.pop(1)); import environment; environment.main()' \
        "$procedures" "$1" "$2" "$subdir" "$root/venvs" "$3"
}

stands() { # stands: the identity of the wanted release, and is (current, prepared, absent) and release: is it here already?
    wait # for the name of the environment
    found=$(python3 -I -S "$procedures/identity.py" "$root" "$server" "$commit" "$rendered" "$subdir" "$(cat "$here/digest" 2>/dev/null)") || fail "the releases in $releases could not be read"
    { read -r identity; read -r is; read -r release; } <<EOF
$found
EOF
}

roots_own() { # roots_own FOLDER: every folder from shared/ down to it is root's and no link, so that what is done in it happens there
    folder=$1
    while [ "$folder" != "$root" ]; do
        [ ! -L "$folder" ] && [ "$(stat -c %u "$folder" 2>/dev/null || echo 0)" = 0 ] || return 1
        folder=${folder%/*}
    done
}

link_shared() ( # link_shared TREE: shared folders and files are links into shared/; what the repository brings is their first content
    set -e
    printf '%s\n' "$shared" | while IFS= read -r entry; do
        [ -n "$entry" ] || continue
        inside=$1/${subdir:+$subdir/}$entry target=$root/shared/$entry
        roots_own "${target%/*}" || fail "app.shared: ${target%/*} is the application's own, as it was shared by itself once, so nothing is made in it: move it away, or share it again"
        if [ ! -e "$target" ] && [ ! -L "$target" ]; then
            mkdir -p "$(dirname "$target")"
            rm -rf "$root/shared/.new"
            if [ -e "$inside" ]; then cp -a "$inside" "$root/shared/.new"
            elif printf '%s\n' "$shared_files" | grep -qxF -e "$entry"; then : >"$root/shared/.new"
            else mkdir "$root/shared/.new"; fi
            chown -R -h "$user:$user" "$root/shared/.new"
            if [ -d "$root/shared/.new" ]; then chmod 0750 "$root/shared/.new"; else chmod 0640 "$root/shared/.new"; fi
            mv -T "$root/shared/.new" "$target"
        fi
        [ ! -L "$target" ] || fail "app.shared: $target on the server is a symbolic link, and is not followed; put the folder itself there"
        if printf '%s\n' "$public" | grep -qxF -e "$entry"; then python3 -I -S "$procedures/tree.py" publish "$target" "$user"; fi
        rm -rf "$inside"
        mkdir -p "$(dirname "$inside")"
        ln -s "$target" "$inside"
    done
)

assemble() ( # assemble: the release in its unfinished folder, all of it or an error
    set -e
    mkdir -m 0700 "$part"
    export_tree "$part"
    [ -d "$part/$subdir" ] || fail "app.subdir: there is no folder $subdir in $label"
    mkdir -m 0750 "$part/.deploy" || fail "the repository has a file or folder .deploy, which is this tool's own name"
    tar -xf "$here_files/deploy.tar" -C "$part/.deploy" --no-same-owner
    printf '%s\n' "$subdir" >"$part/.deploy/folder"
    printf '%s\n' "$commit" >"$part/.deploy/commit"
    printf '%s\n' "$label" >"$part/.deploy/label"
    printf '%s\n' "$version" >"$part/.deploy/version"
    (umask 077 && printf '%s\n' "$identity" >"$part/.deploy/identity")
    printf 'prepared\n' >"$part/.deploy/state"
    take_over
    # What an environment beside the first steps was made from, which need not be read again
    [ "$(cat "$beside/.deploy/commit" 2>/dev/null)" != "$commit" ] || mv -f "$beside/.deploy/recipe" "$part/.deploy/recipe"
)

take_over() { # take_over: give the tree to root and the application's group, without links out of it and what is private, and with the shared folders in it
    # Links and what is private first: what comes after this walks through folders only.
    said=$(python3 -I -S "$procedures/tree.py" release "$part" "$user" "$static" "$private" "$named" 2>&1) || fail "$said"
    [ -z "$said" ] || say "$said"
    chown root:root "$part/.deploy/identity" && chmod 0600 "$part/.deploy/identity"
    link_shared "$part"
}

finish() ( # finish: what needs the environment, or is no part of the repository: app.build, app.files, the .env
    set -e
    own=$part/.deploy
    if [ -e "$own/build.json" ]; then
        say "app.build"
        code=0
        python3 -I -S "$procedures/assets.py" "$root" "$part" "$subdir" >"$here/built" 2>&1 || code=$?
        tail -c 100000 "$here/built" | as_in_the_repository
        [ $code -eq 0 ] || exit 1
        take_over
    fi
    if [ -e "$own/files.json" ]; then
        said=$(python3 -I -S "$procedures/app_files.py" "$root" "$part" "$subdir" "$user" "$db_variable" 2>&1) || fail "$said"
        # What lies below app.static is the proxy's to read.
        said=$(python3 -I -S "$procedures/tree.py" own "$part" "$user" "$static" 2>&1) || fail "$said"
        chown root:root "$own/identity" && chmod 0600 "$own/identity"
    fi
    lacking=$(python3 -I -S "$procedures/tree.py" missing "$part" "$static" | head -n 1)
    [ -z "$lacking" ] || fail "app.static: there is no $lacking; correct the folder, build it (app.build), or send it with a working tree (app.send)"
    # After the builds, which get a copy of the tree and none of the variables.
    if [ -e "$own/dotenv" ]; then
        install -o root -g "$user" -m 0640 "$own/dotenv" "$part/${subdir:+$subdir/}.env" || fail "the .env could not be written"
        rm -f "$own/dotenv"
    fi
)

look_inside() { # look_inside: import the callable with the production variables; does a migration wait?
    own=$releases/$release/.deploy migrations=no
    set_up
    [ "$migrate" != auto ] || migrations=yes
    import_release "$release" $migrations
    (umask 027 && printf '%s\n' "$code_heads" >"$own/heads")
    printf '%s\n' "$interface_is" >"$here/interface"
    install -o root -g "$user" -m 0640 "$here/interface" "$own/interface" || fail "what the callable is could not be written down"
    # The commands of flask do not look inside middleware.
    [ "$flask_is" != inside ] || : >"$own/middleware"
    pending=no
    case $migrate in
    '') ;;
    auto) [ "$waits" = false ] || pending=yes ;;
    *) if asks_whether_it_waits; then pending=yes; fi ;;
    esac
}

set_up() { # set_up: run app.setup once for the application, and again when the list changes
    [ -d "$own/setup" ] || return 0
    listed=$(cat "$own/setup/"* | sha256sum | cut -d' ' -f1)
    [ "$(cat "$root/setup.done" 2>/dev/null)" != "$listed" ] || return 0
    for command in "$own/setup/"*; do
        first=$(head -n 1 "$command")
        say "app.setup: $first"
        DECANT_SMOKE='' in_release setup 600 "$release" sh "$command" >"$here/set-up" 2>&1
        code=$?
        tail -c 100000 "$here/set-up" | as_in_the_repository
        [ $code -eq 0 ] || fail "$(tail -c 100000 "$here/set-up" | explain "app.setup: $first failed (exit code $code)"); the list runs again from its beginning the next time"
    done
    write_durably "$root/setup.done" "$listed"
}

asks_whether_it_waits() { # asks_whether_it_waits: does app.pending say that the migration has something to do? Without it, it always has
    [ -n "$ask_pending" ] || return 0
    in_release pending 120 "$release" sh -c "$ask_pending" >"$here/pending" 2>&1
    code=$?
    tail -c 100000 "$here/pending" | as_in_the_repository
    case $code in
    0) return 1 ;;
    126 | 127 | 137 | 143 | 255) fail "app.pending did not run (exit code $code): $(tail -c 2000 "$here/pending" | tail -n 1)" ;;
    esac
}

if [ "$only" = environment ]; then
    export DECANT_BESIDE="$here/fetched"
    fetch
    resolve
    rm -rf "$beside"
    mkdir -m 0700 "$beside"
    export_tree "$beside"
    [ ! -e "$beside/.deploy" ] || fail "the repository has a file or folder .deploy, which is this tool's own name"
    mkdir -m 0700 "$beside/.deploy"
    printf '%s\n' "$version" >"$beside/.deploy/version"
    environment build "$beside" "$commit" && printf '%s\n' "$commit" >"$beside/.deploy/commit"
    exit
fi
# What a window left that could not be put back then (a full disk) comes first.
if [ -e "$transition" ]; then
    said=$(sh "$procedures/gate.sh" "$root") || { printf '%s\n' "$said"; fail "a window that was cut off could not be put back: the last lines say why"; }
    [ -z "$said" ] || say "$said"
fi
old=$(serving)
# Beside the fetch: is what serves well, which counts where it is the wanted one already?
asking=''
if [ -n "$old" ] && [ "$server" != none ]; then
    ask_health proxy 10 >"$here/health" 2>&1 3>&- 8>&- &
    asking=$!
fi
# And which environment would the serving release get today?
[ -z "$old" ] || [ "$server" = none ] || environment name "$releases/$old" "$(cat "$releases/$old/.deploy/commit")" >"$here/digest" &
case $kind in git)
    fetch
    resolve ;;
esac
stands
value commit "$commit"
value label "$label"
value old "$old"
if [ "$is" = current ]; then
    value result current
    [ -z "$asking" ] || wait "$asking" || value unwell "$(tail -n 1 "$here/health")"
    value release "$release"
    exit 0
fi

if [ "$is" = absent ]; then
    if [ "$kind" = known ]; then
        value result absent
        exit 0
    fi
    release=$id-$(printf '%.7s' "$commit")
    part=$releases/.part-$release
    rm -rf "$part"
    assemble # not in a condition, where sh would forget its `set -e`; its last line is the cause
    code=$?
    [ $code -eq 0 ] || exit 1
    if [ "$server" != none ]; then
        say "environment of $label"
        digest=$(environment build "$part" "$commit" 2>"$here/environment") || {
            cause=$(tail -n 1 "$here/environment")
            grep -vxF -e "$cause" "$here/environment" | as_in_the_repository
            fail "the environment could not be made: $(printf '%s\n' "$cause" | as_in_the_repository)"
        }
        ln -s "$root/venvs/$digest" "$part/.deploy/venv" || fail "the environment could not be linked"
    fi
    finish # not in a condition, either
    code=$?
    [ $code -eq 0 ] || exit 1
    python3 -I -S "$procedures/contents.py" write "$part" .deploy/contents || fail "what the release has could not be written down"
    { mv -T "$part" "$releases/$release" && sync -f "$releases"; } || fail "the release could not be given its name"
    list_releases
fi
# From here a failure leaves no release behind: it never served.
part=$releases/$release
pending=no code_heads='' database_heads=''
# On a host with the proxy alone there are only the files that it serves itself.
if [ "$server" != none ]; then
    look_inside
    say "${wsgi_app:+imported $wsgi_app of $label; }migration pending: $pending"
fi
# Where it will start beside the release that serves, its workers ask for health themselves, before they answer anybody.
smoked=no start_first=no
if [ $pending = no ] && [ -n "$old" ] && [ "$(cat "$releases/$release/.deploy/switch")" = start-first ] && [ -z "$(python3 -I -S "$procedures/window.py" order "$root" "$old" "$release" "$journal")" ]; then start_first=yes; fi
if [ $pending = no ] && [ "$server" != none ] && [ $start_first = no ]; then
    smoke "$release" >"$here/smoked" || {
        tail -n +2 "$here/smoked" | as_in_the_repository
        fail "$({ tail -n +2 "$here/smoked"; head -n 1 "$here/smoked"; } | explain "the release failed its health check on a private socket")"
    }
    smoked=yes
fi
part=''
value result prepared
value release "$release"
value pending "$pending"
value smoked "$smoked"
value start_first "$start_first"
value heads "$code_heads"
value database_heads "$database_heads"
