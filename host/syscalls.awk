# SPDX-License-Identifier: MIT
# Makes the table of system calls that filters are built from (host/filter.c)
# of the comments beside the functions that make them:
#
#     /* syscalls loop vcpu if tap: readv ioctl(TUNSETOFFLOAD|TUNSETQUEUE) */
#
# or at the end of a comment, on a line of its own.
# Who: kinds of threads (base/thread.h), or all. `if`: only where that is used
# (base/use.h). In brackets: values of the one argument that is looked at
# (`arg` below), ! before bits that it may not have, SELF for this process's
# number. After a comma: why no test with guests on this machine sees them. A
# comment may go on over several lines.
#
# usage: awk -f host/syscalls.awk UNISTD_64_H SOURCE...   (UAPI's numbers)
#        with -v places=1: who lists what where (tests/syscalls/record.c)
# Ends with a line that names file and line, and status 1, where a marker does
# not parse or a call does not exist.

BEGIN {
    split("loop pair vcpu worker disk", kinds)
    for (i in kinds)
        kind[kinds[i]] = "1 << THREAD_" toupper(kinds[i])
    split("ioctl 1 fcntl 1 madvise 2 mmap 2 mprotect 2 memfd_create 1 tgkill 0",
          w)
    for (i = 1; i in w; i += 2)
        arg[w[i]] = w[i + 1]
}

function wrong(what) {
    printf "%s:%d: syscalls: %s\n", FILENAME, at, what | "cat >&2"
    bad = 1
    exit 1
}

function row(call, op, n, value,   key, i, all) {
    for (i in these)
        all = all (all ? " | " : "") these[i]
    place[number[call], ++nplaces] = sprintf(\
        "{\"%s:%d\", %s, %s, %s, %s, (uint32_t)(%s), \"%s\", %s}",
        FILENAME, at, number[call], all, call in arg ? arg[call] : -1,
        op == "IS" ? "true" : "false", op == "IS" ? value : 0,
        call (op == "IS" ? "(" value ")" : ""), why ? "\"" why "\"" : "NULL")
    key = call SUBSEP op SUBSEP n SUBSEP value SUBSEP use
    if (!(key in who))
        rows[++nrows] = key
    for (i in these)
        if (index(who[key], these[i]) == 0)
            who[key] = who[key] (who[key] ? " | " : "") these[i]
}

function take_call(word,   call, values, v, n, i, op) {
    call = word
    sub(/\(.*/, "", call)
    if (!(call in number))
        wrong("no such call: " call)
    if (call == word) {
        row(call, "ANY", 0, 0)
        return
    }
    if (!(call in arg))
        wrong(call ": which argument is looked at? (host/syscalls.awk)")
    values = substr(word, length(call) + 2)
    if (values !~ /^!?[A-Z][A-Z0-9_]*(\|[A-Z][A-Z0-9_]*)*\)$/)
        wrong("not a list of values: " word)
    sub(/\)$/, "", values)
    op = values == "SELF" ? "SELF" : values ~ /^!/ ? "WITHOUT" : "IS"
    sub(/^!/, "", values)
    n = split(values, v, "|")
    if (op == "WITHOUT")
        row(call, op, arg[call], values)
    else
        for (i = 1; i <= n; i++)
            row(call, op, arg[call], op == "SELF" ? 0 : v[i])
}

function take(text,   colon, head, n, w, i, k) {
    colon = index(text, ":")
    if (!colon)
        wrong("no colon")
    n = split(substr(text, 1, colon - 1), head, " ")
    split("", these)
    use = "USE_ALWAYS"
    for (i = 1; i <= n && head[i] != "if"; i++)
        if (head[i] == "all")
            for (k in kind)
                these[k] = kind[k]
        else if (head[i] in kind)
            these[head[i]] = kind[head[i]]
        else
            wrong("no such kind of thread: " head[i])
    if (i == 1 || (i <= n && i != n - 1))
        wrong("must be: KIND... [if USE]: CALL...")
    if (i < n)
        use = "USE_" toupper(head[n])
    text = substr(text, colon + 1)
    why = ""
    if (match(text, / *, */)) {
        why = substr(text, RSTART + RLENGTH)
        text = substr(text, 1, RSTART - 1)
        gsub(/ +/, " ", why)
        sub(/ $/, "", why)
        if (why !~ /^[^"\\]+$/)
            wrong("no reason after the comma")
    }
    n = split(text, w, " ")
    if (!n)
        wrong("no call")
    for (i = 1; i <= n; i++)
        take_call(w[i])
}

FNR == 1 && inside { wrong("does not end in its file") }

NR == FNR {
    if ($1 == "#define" && $2 ~ /^__NR_/) {
        name = substr($2, 6)
        number[name] = $3
        name_of[$3] = name
        if ($3 > last)
            last = $3
    }
    next
}

!inside && /^ *(\/\*|\*) syscalls / {
    inside = 1
    at = FNR
    sub(/^ *(\/\*|\*) syscalls /, "")
    text = ""
}

inside {
    line = $0
    sub(/^ *\* /, "", line)
    ends = sub(/\*\/.*/, "", line)
    text = text " " line
    if (ends) {
        inside = 0
        gsub(/\| +/, "|", text)
        take(text)
    }
}

# ioctl, and KVM_RUN of them, first: it is the call that filters are run for
# most (what is allowed whatever its arguments is not run at all).
function before(a, b,   x, y) {
    split(a, x, SUBSEP)
    split(b, y, SUBSEP)
    if (x[1] != y[1])
        return x[1] == "ioctl" || (y[1] != "ioctl" && x[1] < y[1])
    if ((x[4] == "KVM_RUN") != (y[4] == "KVM_RUN"))
        return x[4] == "KVM_RUN"
    return a < b
}

END {
    if (bad)
        exit 1
    for (i = 2; i <= nrows; i++)
        for (j = i; j > 1 && before(rows[j], rows[j - 1]); j--) {
            t = rows[j]
            rows[j] = rows[j - 1]
            rows[j - 1] = t
        }
    print "/* Made by host/syscalls.awk. */"
    print "#include <fcntl.h>\n#include <linux/fs.h>\n#include <linux/if_tun.h>"
    print "#include <linux/kvm.h>\n#include <linux/vfio.h>"
    print "#include <linux/vhost.h>\n#include <sys/ioctl.h>"
    print "#include <sys/mman.h>\n"
    if (places) {
        print "static const struct place places[] = {"
        for (i = 0; i <= last; i++)
            for (j = 1; j <= nplaces; j++)
                if ((i, j) in place)
                    print "    " place[i, j] ","
        print "};"
        exit
    }
    print "static const struct rule rules[] = {"
    for (i = 1; i <= nrows; i++) {
        split(rows[i], r, SUBSEP)
        printf "    {%s, %s, %s, %s, %s, (uint32_t)(%s)}, /* %s */\n",
               number[r[1]], who[rows[i]], r[5], r[2], r[3], r[4], r[1]
    }
    print "};\n\nstatic const char call_names[] ="
    for (i = 0; i <= last; i++)
        printf "    \"%s\\0\"\n", name_of[i]
    print "    ;"
}
