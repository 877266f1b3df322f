#!/usr/bin/env bash
# Drives the gateway with programs that are not ours, one script after the other, and tells how long each took:
#   conformance  the official suite against the fixture, directly and through the gateway, compared check by check
#   crossed      the suite where client and server have no revision in common
#   clients      the suite's scenarios for clients, by the official SDK's client
#   real         server-everything, server-filesystem, mcp-server-git and the Inspector
#   ladder       real servers of five revisions, by clients of both eras over each transport; here a part of it
#   http3        an HTTP/3 client of others
#   benign       honest traffic of six servers, of which next to nothing may be flagged
#   readers      DuckDB, Polars, pandas and Spark (Java 17) read what was captured
#   crash        kill -9 under load, and what the journal saved
#   processes    sessions of a server that is a command, opened and abandoned: nothing is left
#   store        an S3 store that is killed in mid-upload: everything arrives once
#   wraps        eight `wrap` processes on one capture folder
#   all.sh            all of them
#   all.sh real crash only these
# WIREGATE, WIREGATE_REPLAY and FIXTURE name the binaries; what is not set is built in the dev profile.
# Every script runs even when one before it failed: they are independent, and a run costs minutes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binaries=$("$here/binaries.sh") # apart from the eval, which would hide a failure
eval "$binaries"
export WIREGATE WIREGATE_REPLAY FIXTURE

names=(conformance crossed clients real ladder http3 benign readers store crash processes wraps)
[[ $# -eq 0 ]] || names=("$@")

rows=() failed=()
for name in "${names[@]}"; do
  case $name in
    conformance) script=(bash "$here/conformance.sh") ;;
    crossed) script=(bash "$here/crossed.sh") ;;
    ladder) script=(bash "$here/ladder.sh" --clients "${LADDER-http auto}") ;;
    http3) script=(bash "$here/http3.sh") ;;
    clients) script=(bash "$here/clients.sh") ;;
    real) script=(bash "$here/real.sh") ;;
    benign) script=(bash "$here/benign.sh") ;;
    readers) script=(bash "$here/readers.sh") ;;
    store) script=(bash "$here/store.sh") ;;
    crash) script=(python3 "$here/crash.py") ;;
    processes) script=(bash "$here/processes.sh") ;;
    wraps) script=(python3 "$here/wraps.py") ;;
    *) echo "no peer script '$name'" >&2; exit 2 ;;
  esac
  printf '\n--> peers: %s\n' "$name"
  began=$SECONDS status=0
  "${script[@]}" < /dev/null || status=$?
  rows+=("$name" "$((SECONDS - began))" "$([[ $status -eq 0 ]] && echo ok || echo "exit $status")")
  [[ $status -eq 0 ]] || failed+=("$name")
done

printf '\n%-12s %8s  %s\n' peers seconds result
printf '%-12s %8s  %s\n' "${rows[@]}"
if ((${#failed[@]})); then
  echo "failed: ${failed[*]}"
  exit 1
fi
