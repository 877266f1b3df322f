#!/usr/bin/env bash
# Records a known number of messages, by two gateways into one folder, and lets DuckDB, Polars, pandas and Spark count them and
# answer the questions of their pages in replay/capture/readers. Spark needs a Java of 17 or later; without one it is an error.
# WIREGATE and FIXTURE name the binaries.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${WIREGATE:?}" "${FIXTURE:?}"

command -v java > /dev/null || fail "Spark needs Java 17 or later"
install_venv readers duckdb==2.0.0 pyarrow==26.0.1 polars==2.1.0 pandas==3.1.1 pyspark==4.3.0

start 'listening on (http://[^ ]+)' "$FIXTURE" --listen 127.0.0.1:0
fixture=$found
serve() { start 'listening on (http://[^ ]+/mcp)$' "$WIREGATE" serve "$@" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --capture "$tmp/capture"; }

serve --upstream "$fixture"
read -r messages sessions calls leaked < <(python3 "$peers/traffic.py" "$found")
stop "$pid"

# A second gateway, which knows its clients and only watches.
key=readers-$RANDOM$RANDOM$RANDOM$RANDOM$RANDOM
printf 'auth: {keys: [{name: alice, sha256: %s}]}\nservers: {fixture: {url: "%s"}}\ninspect: {preset: audit}\n' \
  "$(printf %s "$key" | sha256sum | cut -d' ' -f1)" "$fixture" > "$tmp/watch.yaml"
serve --config "$tmp/watch.yaml"
read -r more none again passed < <(python3 "$peers/traffic.py" "$found" "$key")
stop "$pid"

# Spark talks a lot, and none of it matters while the answers agree.
"$installed/bin/python" "$peers/readers.py" "$tmp/capture" $((messages + more)) $((sessions + none)) $((calls + again)) $((leaked + passed)) \
  2> "$tmp/readers.log" || { cat "$tmp/readers.log" >&2; exit 1; }
