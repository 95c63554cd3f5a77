# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Sourced by the scripts that run tests.  Everything that tests something ends
# with a line "N passed, N failed, N skipped"; these read and add such lines.
# Nothing is waited for without a limit.

passed=0 failed=0 skipped=0

# limited SECONDS COMMAND...: status 124 or 137 when it took longer.  The command
# has its own process group and ends with us: on ^C, and when we are told to stop.
limited() {
  local pid status
  set -m # without it, what runs in the background ignores SIGINT for ever
  timeout -k 30 "$@" </dev/null &
  pid=$!
  set +m
  trap 'kill -TERM $pid 2>/dev/null; wait $pid; exit 130' INT TERM HUP
  wait $pid
  status=$?
  trap - INT TERM HUP
  return $status
}

# Why a status of limited is no success.
reason() {
  case $1 in
  124 | 137) echo "did not end within $2 s" ;;
  *) echo "exit status $1" ;;
  esac
}

# The last such line of a file, as three words; nothing when there is none.
counts_last() {
  sed -n 's/^\([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed, \([0-9][0-9]*\) skipped$/\1 \2 \3/p' "$1" | tail -n 1
}

# All such lines of a file added up.
counts_sum() {
  sed -n 's/^\([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed, \([0-9][0-9]*\) skipped$/\1 \2 \3/p' "$1" |
    awk '{ p += $1; f += $2; s += $3 } END { if (NR) print p, f, s }'
}

# pytest's summary ("2 failed, 7 passed, 1 skipped, 1 error in 3.21s") as three words.
counts_pytest() {
  grep -E '^(=+ )?([0-9]+ [a-z]+(, )?)+ in [0-9.]+s' "$1" | tail -n 1 |
    awk '{
      for (i = 1; i < NF; i++) {
        word = $(i + 1)
        sub(/,$/, "", word)
        if (word == "passed" || word == "xpassed") p += $i
        else if (word == "failed" || word ~ /^errors?$/) f += $i
        else if (word == "skipped" || word == "xfailed") s += $i
      }
      print p + 0, f + 0, s + 0
    }'
}

# counts_add STATUS PASSED FAILED SKIPPED: a part that failed without counting a
# failure, or that counted nothing, is one failure; so is nothing at all.
counts_add() {
  passed=$((passed + ${2:-0}))
  failed=$((failed + ${3:-0}))
  skipped=$((skipped + ${4:-0}))
  if [ $((${2:-0} + ${3:-0} + ${4:-0})) = 0 ] || { [ "$1" != 0 ] && [ "${3:-0}" = 0 ]; }; then
    failed=$((failed + 1))
  fi
}

counts_line() {
  echo "$passed passed, $failed failed, $skipped skipped"
}
