#!/usr/bin/env bash
# Records a known number of messages and lets DuckDB and pyarrow count them. WIREGATE and FIXTURE name the binaries.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${WIREGATE:?}" "${FIXTURE:?}"

install_venv readers duckdb==2.0.0 pyarrow==26.0.1

start 'listening on (http://[^ ]+)' "$FIXTURE" --listen 127.0.0.1:0
start 'listening on (http://[^ ]+/mcp)$' "$WIREGATE" serve --upstream "$found" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --capture "$tmp/capture"
gateway_pid=$pid
expected=$(python3 "$peers/traffic.py" "$found")
stop "$gateway_pid"

# shellcheck disable=SC2086 # two numbers
"$installed/bin/python" "$peers/readers.py" "$tmp/capture" $expected
