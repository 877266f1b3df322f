# What the scripts that run the conformance suite on servers share; sourced after lib.sh, not run.
# shellcheck shell=bash

# Successes below which the direct run cannot be right. With nothing listening the suite still counts 29 and 45. Of
# 2025-03-26 it has three checks in all, and no list of tools among them.
declare -A least=([2025-03-26]=3 [2025-06-18]=50 [2025-11-25]=80 [2026-07-28]=190)

python3 "$peers/compare.py" --self-test
install_node22
install_npm conformance @modelcontextprotocol/conformance@0.2.0-alpha.12
suite=$installed/@modelcontextprotocol/conformance/dist/index.js

# check URL REVISION FOLDER : the suite's exit code says whether scenarios failed; the comparison says it better.
# It runs from its own folder. Only the two newest revisions have a required set.
check() {
  local scenarios=(--requirements "$2")
  [[ $2 > 2025-11 ]] || scenarios=(--suite all --spec-version "$2")
  mkdir -p "$3"
  (cd "$3" && timeout 180 node "$suite" server --url "$1" "${scenarios[@]}" -o "$3" > "$3/log" 2>&1) || {
    [[ $? -ne 124 ]] || fail "the suite did not end: $1 $2"
  }
  printf '%s: %s\n' "$(basename "$3")" "$(grep -m1 '^Total:' "$3/log" || echo 'no total, see below')"
  grep -q '^Total:' "$3/log" || tail -20 "$3/log"
}

# compare REVISION DIRECT THROUGH [ARGUMENT…] : two results of `check`, check by check.
compare() {
  local revision=$1 direct=$2 through=$3
  shift 3
  [[ $revision != 2025-03-26 ]] || set -- --no-tools "$@"
  python3 "$peers/compare.py" "$tmp/$revision-$direct" "$tmp/$revision-$through" --least "${least[$revision]}" "$@"
}
