#!/usr/bin/env bash
# The official MCP conformance suite, against the fixture and then through the gateway, compared check by check.
# WIREGATE and FIXTURE name the binaries; `conformance.sh 2026-07-28` runs one revision only.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${WIREGATE:?}" "${FIXTURE:?}"

# Successes below which the direct run cannot be right. With nothing listening the suite still counts 29 and 45.
declare -A least=([2025-11-25]=80 [2026-07-28]=190)
revisions=("$@")
[[ $# -gt 0 ]] || revisions=(2025-11-25 2026-07-28)

python3 "$peers/compare.py" --self-test
install_node22
install_npm conformance @modelcontextprotocol/conformance@0.2.0-alpha.12
suite=$installed/@modelcontextprotocol/conformance/dist/index.js

# Its exit code says whether scenarios failed; the comparison says it better. It runs from its own folder.
check() { # URL REVISION FOLDER
  mkdir -p "$3"
  (cd "$3" && timeout 180 node "$suite" server --url "$1" --requirements "$2" -o "$3" > "$3/log" 2>&1) || {
    [[ $? -ne 124 ]] || fail "the suite did not end: $1 $2"
  }
  printf '%s: %s\n' "$(basename "$3")" "$(grep -m1 '^Total:' "$3/log" || echo 'no total, see below')"
  grep -q '^Total:' "$3/log" || tail -20 "$3/log"
}

start 'listening on (http://[^ ]+)' "$FIXTURE" --listen 127.0.0.1:0
fixture=$found
start 'listening on (http://[^ ]+/mcp)$' "$WIREGATE" serve --upstream "$fixture" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --capture "$tmp/capture"
gateway=$found gateway_pid=$pid

status=0
for revision in "${revisions[@]}"; do
  check "$fixture" "$revision" "$tmp/$revision-direct"
  check "$gateway" "$revision" "$tmp/$revision-through"
  python3 "$peers/compare.py" "$tmp/$revision-direct" "$tmp/$revision-through" --least "${least[$revision]}" || status=1
done
stop "$gateway_pid"
find "$tmp/capture" -name '*.parquet' | grep -q . || fail "nothing was captured"
exit "$status"
