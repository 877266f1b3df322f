#!/usr/bin/env bash
# Builds the two binaries and the fixture server in the dev profile and prints where they are, as lines for `eval`:
#   eval "$(tests/peers/binaries.sh)"
# The paths come from cargo's own messages: a guessed one may be stale. Variables that are set already are kept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [[ -n ${WIREGATE:-} && -n ${WIREGATE_REPLAY:-} && -n ${FIXTURE:-} ]]; then
  printf 'export WIREGATE=%q WIREGATE_REPLAY=%q FIXTURE=%q\n' "$WIREGATE" "$WIREGATE_REPLAY" "$FIXTURE"
  exit
fi

# The whole workspace at once: with `-p proxy` alone cargo would choose other features for shared dependencies and build
# them, and all that stands on them, a second time.
messages=$(mktemp)
trap 'rm -f "$messages"' EXIT
cargo build --locked --workspace --bins --message-format json-render-diagnostics > "$messages"
python3 - "$messages" <<'PY'
import json, os, shlex, sys

wanted = {"wiregate": "WIREGATE", "wiregate-replay": "WIREGATE_REPLAY", "fixture": "FIXTURE"}
found = {}
with open(sys.argv[1]) as lines:
    for line in lines:
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            name = message["target"]["name"]
            if name in wanted:
                found[wanted[name]] = os.environ.get(wanted[name]) or message["executable"]
missing = sorted(set(wanted.values()) - found.keys())
if missing:
    sys.exit(f"cargo built no binary for {', '.join(missing)}")
for variable, path in sorted(found.items()):
    print(f"export {variable}={shlex.quote(path)}")
PY
