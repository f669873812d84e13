# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Several jobs at once, a fixed number of them at a time.  Sourced; needs a directory $work.
# shellcheck disable=SC2154  # $work

# run_pool SLOTS RUN DONE: takes the jobs (words) of the array $queue in their order.  `RUN JOB` runs in the background, its
# output in a file; it should end by exec, so that pool_end reaches the program itself.  `DONE JOB STATUS FILE SECONDS` is
# called here when it has ended, with its process number in $ended, and may append to $queue.  With TICK, `TICK JOB FILE` is
# called every two seconds for each job that runs.
queue=()
declare -A pool_job=()
run_pool() { # SLOTS RUN DONE [TICK]
    local slots=$1 next=0 tick='' ended status job begin=()
    while [ $next -lt ${#queue[@]} ] || [ ${#pool_job[@]} -gt 0 ]; do
        while [ $next -lt ${#queue[@]} ] && [ ${#pool_job[@]} -lt "$slots" ]; do
            begin[next]=$EPOCHREALTIME
            "$2" "${queue[next]}" </dev/null >"$work/pool.$next" 2>&1 &
            pool_job[$!]=$next
            next=$((next + 1))
        done
        [ $# -lt 4 ] || [ -n "$tick" ] || { sleep 2 & tick=$!; }
        status=0
        # shellcheck disable=SC2086  # or nothing
        wait -n -p ended $tick "${!pool_job[@]}" || status=$?
        if [ "$ended" = "$tick" ]; then
            tick=''
            for job in "${pool_job[@]}"; do "$4" "${queue[job]}" "$work/pool.$job"; done
            continue
        fi
        job=${pool_job[$ended]}
        unset "pool_job[$ended]"
        "$3" "${queue[job]}" $status "$work/pool.$job" "$(elapsed "${begin[job]}")"
        rm -f "$work/pool.$job"
    done
    [ -z "$tick" ] || kill "$tick"
    queue=()
}

# elapsed SINCE: seconds since $EPOCHREALTIME was that, with one decimal.
elapsed() { awk -v a="${1/,/.}" -v b="${EPOCHREALTIME/,/.}" 'BEGIN { printf "%.1f", b - a }'; }

# pool_end: for a trap on EXIT: no job outlives this script, and nothing interrupts what that trap does after it.  (What a
# shell starts in the background ignores Ctrl-C.)
pool_end() {
    trap '' INT TERM
    [ ${#pool_job[@]} -gt 0 ] || return 0
    kill "${!pool_job[@]}" 2>/dev/null || true
    wait "${!pool_job[@]}" 2>/dev/null || true
}
