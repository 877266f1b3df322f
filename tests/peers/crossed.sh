#!/usr/bin/env bash
# The conformance suite where client and server have no revision in common, so that the gateway translates: the set of
# 2025-11-25 against a server made stateless, that of 2026-07-28 against one made to want a handshake. Compared check by check
# with the run against the fixture itself; what differs must stand, with its reason, in crossed-REVISION.txt.
# WIREGATE and FIXTURE name the binaries; `crossed.sh 2026-07-28` runs one revision only.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/suite.sh"
: "${WIREGATE:?}" "${FIXTURE:?}"

declare -A only=([2025-11-25]=modern [2026-07-28]=legacy)
revisions=("$@")
[[ $# -gt 0 ]] || revisions=(2025-11-25 2026-07-28)

start 'listening on (http://[^ ]+)' "$FIXTURE" --listen 127.0.0.1:0
fixture=$found
status=0
for revision in "${revisions[@]}"; do
  start 'listening on (http://[^ ]+)' node "$peers/single.mjs" "$fixture" "${only[$revision]}"
  start 'listening on (http://[^ ]+/mcp)$' "$WIREGATE" serve --upstream "$found" --listen 127.0.0.1:0 --admin off --no-capture
  gateway=$found
  check "$fixture" "$revision" "$tmp/$revision-direct"
  check "$gateway" "$revision" "$tmp/$revision-crossed"
  compare "$revision" direct crossed --expected "$peers/crossed-$revision.txt" || status=1
done
exit "$status"
