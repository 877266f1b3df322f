#!/usr/bin/env bash
# Sessions of a server that is a command, opened and abandoned in every way: nothing may be left. 50 cycles, or as many as
# are asked for (`processes.sh 1000`). STDIO_ECHO lies beside the fixture, with which it is built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binaries=$("$here/binaries.sh") # apart from the eval, which would hide a failure
eval "$binaries"
export WIREGATE STDIO_ECHO=${STDIO_ECHO:-$(dirname "$FIXTURE")/stdio-echo}
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
export XDG_STATE_HOME=$state
python3 "$here/processes.py" "$@"
