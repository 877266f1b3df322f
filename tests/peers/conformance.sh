#!/usr/bin/env bash
# The official MCP conformance suite, against the fixture and then through the gateway, compared check by check: the required
# sets of two revisions and everything there is for two older ones, over HTTP/1.1 and over HTTP/2.
# WIREGATE and FIXTURE name the binaries; `conformance.sh 2026-07-28` runs one revision only.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/suite.sh"
: "${WIREGATE:?}" "${FIXTURE:?}"

revisions=("$@")
[[ $# -gt 0 ]] || revisions=(2025-03-26 2025-06-18 2025-11-25 2026-07-28)

start 'listening on (http://[^ ]+)' "$FIXTURE" --listen 127.0.0.1:0
fixture=$found
start 'listening on (http://[^ ]+/mcp)$' "$WIREGATE" serve --upstream "$fixture" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --capture "$tmp/capture"
gateway=$found gateway_pid=$pid
start 'listening on (http://[^ ]+/mcp)$' node "$peers/h2.mjs" "$gateway"
over_h2=$found

status=0
for revision in "${revisions[@]}"; do
  check "$fixture" "$revision" "$tmp/$revision-direct"
  check "$gateway" "$revision" "$tmp/$revision-http1"
  compare "$revision" direct http1 || status=1
  check "$over_h2" "$revision" "$tmp/$revision-http2"
  compare "$revision" direct http2 || status=1
done
stop "$gateway_pid"
find "$tmp/capture" -name '*.parquet' | grep -q . || fail "nothing was captured"
exit "$status"
