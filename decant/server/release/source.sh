# shellcheck shell=sh
# How the code of a release comes to the server, for prepare.sh, whose parameters these functions read.
# shellcheck disable=SC2154,SC2034 # they are set, and used, there
# Without the descriptors of the report and the lock, which a child that stays behind would keep open. The mirror is root's, and so is its configuration; what a repository
# says of attributes names no program, as filters are configured nowhere here.
git=$(command -v git)
repository() {
    set -- "${git:-git}" --git-dir="$root/repo.git" -c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.attributesFile=/dev/null -c filter.lfs.smudge= -c filter.lfs.process= -c filter.lfs.required=false -c log.showSignature=false -c tar.umask=0077 -c http.lowSpeedLimit=1 -c http.lowSpeedTime=60 -c gc.auto=0 -c maintenance.auto=false "$@"
    if [ -n "${waits_for:-}" ]; then python3 -I -S "$procedures/watched.py" "$waits_for" "$@"; else "$@" 3>&- 8>&-; fi
}

fetch() { # fetch: bring the mirror up to date; the remote's HEAD is kept as a ref of our own
    command -v git >/dev/null || fail "app.source is a git URL and there is no git on the server; run: fab deploy (or system.packages)"
    [ -d "$root/repo.git" ] || git init -q --bare --template= "$root/repo.git" || fail "git could not make $root/repo.git"
    chmod 0700 "$root/repo.git"
    set -- --end-of-options "$source" '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*'
    # A token in an URL is nobody else's.
    shown=$(printf '%s' "$source" | sed 's|^\(https\{0,1\}://\)[^/@]*@|\1|')
    waits_for="the repository $shown"
    repository fetch --progress --prune --force --no-tags "$@" '+HEAD:refs/decant/head' 2>"$here/fetch.log"
    code=$?
    # A repository without commits, or whose HEAD names a branch that is not there, has no HEAD to fetch.
    if [ $code -ne 0 ] && grep -q 'find remote ref HEAD' "$here/fetch.log"; then
        repository fetch --progress --prune --force --no-tags "$@" 2>"$here/fetch.log"
        code=$?
    fi
    waits_for=''
    # What git says last is advice.
    cause=$(grep -v -e '^Please make sure' -e '^and the repository exists' -e '^fatal: Could not read from remote' "$here/fetch.log" | tail -n 1)
    [ $code -eq 0 ] || fail "app.source: $shown cannot be read from the server: ${cause:-git says nothing more}; check the URL, and that root on the server may read it (for ssh: its key and known_hosts in /root/.ssh)"
}

resolve() { # resolve: the commit that ref names: a branch, a tag, tag:PATTERN (the highest version) or a commit
    case $ref in
    '') found=refs/decant/head ;;
    tag:*)
        found=$(repository -c versionsort.suffix=- for-each-ref --sort=-version:refname --format='%(refname)' "refs/tags/${ref#tag:}" | head -n 1)
        [ -n "$found" ] || fail "app.ref: no tag of $shown matches ${ref#tag:}" ;;
    *)
        for found in "refs/heads/$ref" "refs/tags/$ref" "$ref"; do
            if repository rev-parse -q --verify --end-of-options "$found^{commit}" >/dev/null; then break; fi
            found=
        done
        [ -n "$found" ] || fail "app.ref: $shown has no branch, tag or commit $ref" ;;
    esac
    commit=$(repository rev-parse -q --verify "$found^{commit}") || fail "app.source: $shown is empty: it has no commit"
    label=$(repository log -1 --format='%h %s' "$commit")
    version=$(repository describe --tags --always "$commit" 2>/dev/null)
}

export_tree() { # export_tree FOLDER
    case $kind in
    # Where .gitattributes has export-subst, an archive asks for signatures, and git looks for gpg by its name.
    git)
        PATH=/nonexistent repository archive --format=tar "$commit" | tar -xf - -C "$1" &&
            { said=$(python3 -I -S "$procedures/submodules.py" "$root" "$commit" "$source" "$1" 2>&1) || fail "$said"; } ;;
    tar) tar -xf "$here_files/source.tar" -C "$1" --no-same-owner ;;
    folder) cp -a "$source/." "$1/" && chmod 0700 "$1" ;;
    esac || fail "the tree of $label could not be exported (free disk: $(df -Ph "$root" | awk 'NR == 2 { print $4 }'))"
}
