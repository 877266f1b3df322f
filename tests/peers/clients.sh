#!/usr/bin/env bash
# The suite's scenarios for clients (those without authorization): the official SDK's client, directly and then through a
# gateway of its own for each scenario. Every check must go the same way. WIREGATE names the binary.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${WIREGATE:?}"

declare -A scenarios=(
  [2025-11-25]="initialize tools_call elicitation-sep1034-client-defaults sse-retry"
  [2026-07-28]="tools_call request-metadata sep-2322-client-request-state http-standard-headers http-custom-headers http-invalid-tool-headers json-schema-ref-no-deref"
)

install_node22
install_npm conformance @modelcontextprotocol/conformance@0.2.0-alpha.12
suite=$installed/@modelcontextprotocol/conformance/dist/index.js
install_npm client @modelcontextprotocol/client@2.4.0 zod@4
export SDK=$installed

# What the suite calls with its server's URL behind.
cat > "$tmp/run-direct" << SH
#!/usr/bin/env bash
exec node "$peers/client.mjs" "$SDK" "\$1"
SH
cat > "$tmp/run-through" << SH
#!/usr/bin/env bash
. "$peers/lib.sh"
start 'listening on (http://[^ ]+/mcp)\$' "$WIREGATE" serve --upstream "\$1" --listen 127.0.0.1:0 --admin off --no-capture
node "$peers/client.mjs" "$SDK" "\$found"
SH
chmod +x "$tmp/run-direct" "$tmp/run-through"

status=0
for revision in "${!scenarios[@]}"; do
  for scenario in ${scenarios[$revision]}; do
    for way in direct through; do
      mkdir -p "$tmp/$way"
      (cd "$tmp/$way" && timeout 120 node "$suite" client --command "$tmp/run-$way" --scenario "$scenario" --spec-version "$revision" \
        --timeout 60000 -o "$tmp/$way/$revision" > "$tmp/$way/$revision-$scenario.log" 2>&1) || [[ $? -ne 124 ]] || fail "no end: $scenario"
    done
  done
  python3 "$peers/compare.py" "$tmp/direct/$revision" "$tmp/through/$revision" --least 1 --no-tools || status=1
done
exit "$status"
