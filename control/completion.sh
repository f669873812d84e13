#!/bin/sh
# SPDX-License-Identifier: MIT
# Prints bash's completion for vmm, made of what VMM -help says.
# usage: control/completion.sh VMM
set -eu

# The option lines: "-name ARG   what it does"; then "  -a, -b ARG," for those
# that QEMU has, too.
"$1" -help | awk '
    / as QEMU has them:/ { others = 1; next }
    others && /^$/ { exit }
    others && /^  -/ { gsub(/,$/, ""); n = split($0, part, /, +/) }
    others && /^  -/ { for (i = 1; i <= n; i++) print part[i]; next }
    /^-/ && !seen[$1]++ { print $1, ($2 ~ /^[A-Z0-9a-z|]+[,|=\[.]?/ && !/^-[a-z-]+  /) ? $2 : "" }
' | awk '
    { names = names " " $1 }
    $2 ~ /^FILE/ { files = files "|" $1 }
    $2 == "DIR" { dirs = dirs "|" $1 }
    END {
        print "# bash completion for vmm; made by control/completion.sh"
        print "_vmm()\n{"
        print "    local word=${COMP_WORDS[COMP_CWORD]}"
        print "    local before=${COMP_WORDS[COMP_CWORD - 1]}"
        print "    if [ \"$COMP_CWORD\" -gt 1 ] && [ \"${COMP_WORDS[1]}\" = ctl ]; then"
        print "        [ \"$COMP_CWORD\" -lt 3 ] || mapfile -t COMPREPLY < <(compgen -W \"$(\"$1\" ctl help |"
        print "            sed -n \"s/^  \\([a-z-]*\\) .*/\\1/p\")\" -- \"$word\")"
        print "        return"
        print "    fi"
        print "    if [ \"$COMP_CWORD\" -gt 1 ] && [ \"${COMP_WORDS[1]}\" = jail ]; then"
        print "        mapfile -t COMPREPLY < <(compgen -f -W \"$(\"$1\" jail --help |"
        print "            sed -n \"s/^  \\(--[a-z-]*\\) .*/\\1/p\")\" -- \"$word\")"
        print "        return"
        print "    fi"
        print "    case $before in"
        print "    " substr(files, 2) ")"
        print "        mapfile -t COMPREPLY < <(compgen -f -- \"$word\") ;;"
        if (dirs != "") {
            print "    " substr(dirs, 2) ")"
            print "        mapfile -t COMPREPLY < <(compgen -d -- \"$word\") ;;"
        }
        print "    -device)"
        print "        mapfile -t COMPREPLY < <(compgen -W \"$(\"$1\" -device help |"
        print "            sed -n \"s/^name \\\"\\([^\\\"]*\\).*/\\1/p\")\" -- \"$word\") ;;"
        print "    *)"
        print "        mapfile -t COMPREPLY < <(compgen -W \"" substr(names, 2) "\" -- \"$word\") ;;"
        print "    esac"
        print "}"
        print "complete -o default -F _vmm vmm"
    }'
