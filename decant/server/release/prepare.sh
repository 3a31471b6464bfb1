# shellcheck shell=sh
# Make a release ready while the old one serves: fetch, export, environment, import, pending migrations and, where none wait, a smoke test.
# Parameters: root, id (TIME part of the release's name), kind (git, tar, folder; known: nothing was sent, as a release of this commit may be there), source, ref, commit and label (known for what was sent),
# subdir, rendered (a digest of the files below), shared (a path a line), public (those of them that the proxy serves), static (the folders of the repository that it serves),
# private (files that hosts.toml names: no part of a release), named (KEY, a tab, and the path in the repository that it names, a line each), server (none: the application does not
# run here), python, installer, packages, driver (of the database: its module, and what brings it), refresh, wsgi_app, migrate (auto, a command, or nothing), dotenv,
# only (environment: nothing but that, on a new server, beside other steps; or nothing).
# The release's rendered files are beside the parameters, in deploy.tar; a source that was sent is source.tar, or the folder itself.
# Tells: result (current, prepared, absent), release, old, commit, pending, smoked (its health was checked), start_first (it may start beside the old one), heads.
set -u
here_files=$(dirname "$1")
# shellcheck source=/dev/null
. "$1"
: "${here:?}" "${root:?}" "${id:?}" "${kind:?}" "${source?}" "${ref?}" "${commit?}" "${label?}" "${subdir?}" "${rendered:?}" "${shared?}" "${public?}" "${static?}" "${private?}" "${named?}" "${server:?}" "${python?}" "${installer:?}" "${packages?}" "${driver?}" "${refresh:?}" "${wsgi_app:?}" "${migrate?}" "${only?}"
# shellcheck source=lib.sh
. "$root/procedures/lib.sh"
export DECANT_SMOKE=1 GIT_TERMINAL_PROMPT=0 HOME="${HOME:-/root}" GIT_CONFIG_NOSYSTEM=1 GIT_ATTR_NOSYSTEM=1
export GIT_SSH_COMMAND="ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15"
part='' beside=$releases/.part-environment
trap '[ -z "$part" ] || { rm -rf "$part"; list_releases; }' EXIT

# Without the descriptors of the report and the lock, which a child that stays behind would keep open. The mirror is root's, and so is its configuration; what a repository
# says of attributes names no program, as filters are configured nowhere here.
git=$(command -v git)
repository() { "${git:-git}" --git-dir="$root/repo.git" -c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.attributesFile=/dev/null -c filter.lfs.smudge= -c filter.lfs.process= -c filter.lfs.required=false -c log.showSignature=false -c tar.umask=0077 -c http.lowSpeedLimit=1 -c http.lowSpeedTime=60 -c gc.auto=0 -c maintenance.auto=false "$@" 3>&- 8>&-; }

fetch() { # fetch: bring the mirror up to date; the remote's HEAD is kept as a ref of our own
    command -v git >/dev/null || fail "app.source is a git URL and there is no git on the server; run: fab deploy (or system.packages)"
    [ -d "$root/repo.git" ] || git init -q --bare --template= "$root/repo.git" || fail "git could not make $root/repo.git"
    chmod 0700 "$root/repo.git"
    set -- --end-of-options "$source" '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*'
    # A repository without commits, or whose HEAD names a branch that is not there, has no HEAD to fetch.
    repository fetch -q --prune --force --no-tags "$@" '+HEAD:refs/decant/head' || repository fetch -q --prune --force --no-tags "$@" ||
        fail "app.source: $source cannot be read from the server: check the URL, and that root on the server may read it (for ssh: its key and known_hosts in /root/.ssh)"
}

resolve() { # resolve: the commit that ref names: a branch, a tag, tag:PATTERN (the highest version) or a commit
    case $ref in
    '') found=refs/decant/head ;;
    tag:*)
        found=$(repository -c versionsort.suffix=- for-each-ref --sort=-version:refname --format='%(refname)' "refs/tags/${ref#tag:}" | head -n 1)
        [ -n "$found" ] || fail "app.ref: no tag of $source matches ${ref#tag:}" ;;
    *)
        for found in "refs/heads/$ref" "refs/tags/$ref" "$ref"; do
            if repository rev-parse -q --verify --end-of-options "$found^{commit}" >/dev/null; then break; fi
            found=
        done
        [ -n "$found" ] || fail "app.ref: $source has no branch, tag or commit $ref" ;;
    esac
    commit=$(repository rev-parse -q --verify "$found^{commit}") || fail "app.source: $source is empty: it has no commit"
    label=$(repository log -1 --format='%h %s' "$commit")
}

environment() { # environment name|build TREE COMMIT: the name of the tree's environment; `build` makes it where it is missing
    # Imported, so that Python keeps it compiled.
    python3 -I -S -c 'import sys; sys.path.insert(0, sys.argv.pop(1)); import environment; environment.main()' \
        "$procedures" "$1" "$2" "$subdir" "$root/venvs" "$installer" "$packages" "$refresh" "$3" "$server" "$python" "$driver"
}

whole() { # whole RELEASE: are its environment and the interpreter in it there? Somebody may have removed them by hand, or an upgrade of the distribution
    [ "$server" = none ] || { [ -e "$releases/$1/.deploy/venv/.decant-complete" ] && [ -x "$releases/$1/.deploy/venv/bin/python" ]; }
}

already_current() { # the serving release has the same code, files and environment
    wait
    [ -n "$old" ] && [ "$(state_of "$old")" = good ] && [ "$(cat "$releases/$old/.deploy/identity" 2>/dev/null)" = "$identity" ] && whole "$old" || return 1
    [ "$server" != none ] || return 0
    digest=$(cat "$here/digest") && [ -n "$digest" ] && [ "$(basename "$(readlink "$releases/$old/.deploy/venv")")" = "$digest" ]
}

prepared_before() { # a release that was made ready earlier and never switched to
    for candidate in "$releases"/2*; do
        [ "${candidate##*/}" != "$old" ] || continue # what serves is never taken for a draft
        if [ "$(state_of "${candidate##*/}")" = prepared ] && [ "$(cat "$candidate/.deploy/identity" 2>/dev/null)" = "$identity" ] && whole "${candidate##*/}"; then
            release=$(basename "$candidate")
            return 0
        fi
    done
    return 1
}

export_tree() { # export_tree FOLDER
    case $kind in
    # Where .gitattributes has export-subst, an archive asks for signatures, and git looks for gpg by its name.
    git) PATH=/nonexistent repository archive --format=tar "$commit" | tar -xf - -C "$1" ;;
    tar) tar -xf "$here_files/source.tar" -C "$1" --no-same-owner ;;
    folder) cp -a "$source/." "$1/" && chmod 0700 "$1" ;;
    esac || fail "the tree of $label could not be exported (free disk: $(df -Ph "$root" | awk 'NR == 2 { print $4 }'))"
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
            if [ -e "$inside" ]; then cp -a "$inside" "$root/shared/.new"; else mkdir "$root/shared/.new"; fi
            chown -R -h "$user:$user" "$root/shared/.new"
            [ ! -d "$root/shared/.new" ] || chmod 0750 "$root/shared/.new"
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
    (umask 077 && printf '%s\n' "$identity" >"$part/.deploy/identity")
    printf 'prepared\n' >"$part/.deploy/state"
    # Links and what is private first: what comes after this walks through folders only.
    said=$(python3 -I -S "$procedures/tree.py" release "$part" "$user" "$static" "$private" "$named" 2>&1) || fail "$said"
    [ -z "$said" ] || say "$said"
    chown root:root "$part/.deploy/identity" && chmod 0600 "$part/.deploy/identity"
    # What an environment beside the first steps was made from, which need not be read again
    [ "$(cat "$beside/.deploy/commit" 2>/dev/null)" != "$commit" ] || mv -f "$beside/.deploy/recipe" "$part/.deploy/recipe"
    link_shared "$part"
)

look_inside() { # look_inside: import the callable with the production variables; which migrations wait?
    migrations=no
    [ "$migrate" != auto ] || [ ! -d "$releases/$release/$subdir/migrations" ] || migrations=yes
    import_release "$release" $migrations
    case $code_heads in *,*) fail "there are several migration heads ($code_heads): join them with: flask db merge heads" ;; esac
    (umask 027 && printf '%s\n' "$code_heads" >"$releases/$release/.deploy/heads")
    pending=no
    if [ $migrations = yes ]; then
        [ "$code_heads" = "$database_heads" ] || pending=yes
    elif [ "$migrate" != auto ] && [ -n "$migrate" ]; then
        pending=yes
    fi
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
    environment build "$beside" "$commit" && printf '%s\n' "$commit" >"$beside/.deploy/commit"
    exit
fi
# What a window left that could not be put back then (a full disk) comes first.
[ ! -e "$transition" ] || sh "$procedures/gate.sh" "$root" || fail "a window that was cut off could not be put back: the last lines say why"
old=$(serving)
# Beside the fetch: which environment would the serving release get today?
[ -z "$old" ] || [ "$server" = none ] || environment name "$releases/$old" "$(cat "$releases/$old/.deploy/commit")" >"$here/digest" &
case $kind in git)
    fetch
    resolve ;;
esac
identity=$(printf '%s %s %s %s %s' "$commit" "$rendered" "$installer" "$packages" "$subdir$python${driver:+ $driver}" | sha256sum | cut -d' ' -f1)
value commit "$commit"
value label "$label"
value old "$old"
if already_current; then
    value result current
    value release "$old"
    exit 0
fi

if ! prepared_before; then
    if [ "$kind" = known ]; then
        value result absent
        exit 0
    fi
    release=$id-$(printf '%.7s' "$commit")
    part=$releases/.part-$release
    rm -rf "$part"
    assemble # not in a condition, where sh would forget its `set -e`
    code=$?
    [ $code -eq 0 ] || fail "$(tail -n 1 "$here/log")"
    if [ "$server" != none ]; then
        say "environment of $label"
        digest=$(environment build "$part" "$commit") || fail "the environment could not be made: $(tail -n 1 "$here/log")"
        ln -s "$root/venvs/$digest" "$part/.deploy/venv" || fail "the environment could not be linked"
        # After the build, which gets a copy of the tree and none of the variables.
        if [ -e "$part/.deploy/dotenv" ]; then
            install -o root -g "$user" -m 0640 "$part/.deploy/dotenv" "$part/${subdir:+$subdir/}.env" || fail "the .env could not be written"
            rm -f "$part/.deploy/dotenv"
        fi
    fi
    { mv -T "$part" "$releases/$release" && sync -f "$releases"; } || fail "the release could not be given its name"
    list_releases
fi
# From here a failure leaves no release behind: it never served.
part=$releases/$release
pending=no code_heads='' database_heads=''
# On a host with the proxy alone there are only the files that it serves itself.
if [ "$server" != none ]; then
    look_inside
    say "imported $wsgi_app of $label; migration pending: $pending"
fi
# Where it will start beside the release that serves, gunicorn's workers ask for health themselves, before they answer anybody.
smoked=no start_first=no
if [ $pending = no ] && [ -n "$old" ] && [ "$(cat "$releases/$release/.deploy/switch")" = start-first ] && [ -z "$(python3 -I -S "$procedures/window.py" order "$root" "$old" "$release")" ]; then start_first=yes; fi
if [ $pending = no ] && [ "$server" != none ] && [ "$start_first:$server" != yes:gunicorn ]; then
    said=$(smoke "$release") || { printf '%s\n' "$said"; fail "the release failed its health check on a private socket: $(printf '%s\n' "$said" | head -n 1)"; }
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
