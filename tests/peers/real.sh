#!/usr/bin/env bash
# Servers and a client that others wrote: server-everything over HTTP, server-filesystem and mcp-server-git on stdio, driven
# by the MCP Inspector's command line. Each answer through the gateway must equal the direct one, the capture must hold the
# calls, and no process may be left. WIREGATE, WIREGATE_REPLAY and FIXTURE name the binaries.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${WIREGATE:?}" "${WIREGATE_REPLAY:?}" "${FIXTURE:?}"

install_node22
install_npm inspector @modelcontextprotocol/inspector@2.12.0
inspector=$installed/.bin/mcp-inspector
install_npm servers @modelcontextprotocol/server-everything@2026.8.31 @modelcontextprotocol/server-filesystem@2026.8.31
servers=$installed/.bin
install_venv git mcp-server-git==2026.10.19
git_server=$installed/bin/mcp-server-git

export MCP_INSPECTOR_SECRET_STORE=memory # it has no secrets to keep
inspect() { timeout 60 "$inspector" --cli "$@" --format json < /dev/null; }

# same NAME NEEDLE DIRECT… -- THROUGH… -- QUESTION… : the Inspector asks both; the answers must be equal and hold NEEDLE.
same() {
  local name=$1 needle=$2 part=0 direct=() through=() question=() word
  shift 2
  for word in "$@"; do
    case $part,$word in
      *,--) part=$((part + 1)) ;;
      0,*) direct+=("$word") ;;
      1,*) through+=("$word") ;;
      *) question+=("$word") ;;
    esac
  done
  inspect "${direct[@]}" "${question[@]}" > "$tmp/direct.json" || fail "$name: the direct run ended with $?"
  inspect "${through[@]}" "${question[@]}" > "$tmp/through.json" || fail "$name: the run through the gateway ended with $?"
  grep -qF -- "$needle" "$tmp/direct.json" || fail "$name: no '$needle' in $(head -c 500 "$tmp/direct.json")"
  diff "$tmp/direct.json" "$tmp/through.json" > "$tmp/diff" || fail "$name differs: $(head -c 2000 "$tmp/diff")"
  echo "ok: $name ($(stat -c %s "$tmp/through.json") bytes)"
}

# captured FOLDER NAME N : the capture holds N calls of the tool NAME with their answers.
captured() {
  local found
  found=$("$WIREGATE_REPLAY" show --json "$1" --tool "$2" --leg client | grep -c '"method":"tools/call"' || true)
  [[ $found -eq $(($3 * 2)) ]] || fail "$1: $found rows of $2, not $(($3 * 2))"
}

# Processes whose command line holds TEXT, one id a line.
with_argument() { grep -lzF -- "$1" /proc/[0-9]*/cmdline 2> /dev/null | cut -d/ -f3 | grep -vx "$$" || true; }

# Waits for the end of those processes, 20 s at most each.
none_left() {
  local pid
  for pid in $(with_argument "$1"); do
    timeout 20 tail --pid="$pid" -f /dev/null || fail "process $pid is left: $(tr '\0' ' ' < "/proc/$pid/cmdline")"
  done
}

# ---- over HTTP, a server with sessions

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
start 'listening on port ([0-9]+)' env PORT="$port" node "$servers/mcp-server-everything" streamableHttp
url=http://127.0.0.1:$port/mcp
start 'listening on (http://[^ ]+/mcp)$' "$WIREGATE" serve --upstream "$url" --listen 127.0.0.1:0 --admin off --capture "$tmp/everything"
everything_pid=$pid gateway=$found
legacy=(--transport http --protocol-era legacy)
same 'everything: tools/list' '"name":"echo"' "$url" "${legacy[@]}" -- "$gateway" "${legacy[@]}" -- --method tools/list
same 'everything: echo' 'Echo: hello' "$url" "${legacy[@]}" -- "$gateway" "${legacy[@]}" -- --method tools/call --tool-name echo --tool-arg message=hello
same 'everything: resources/list' '"uri"' "$url" "${legacy[@]}" -- "$gateway" "${legacy[@]}" -- --method resources/list
same 'everything: prompts/list' '"name"' "$url" "${legacy[@]}" -- "$gateway" "${legacy[@]}" -- --method prompts/list
stop "$everything_pid"
captured "$tmp/everything" echo 1

# ---- over HTTP, without sessions

start 'listening on (http://[^ ]+)' "$FIXTURE" --listen 127.0.0.1:0
url=$found
start 'listening on (http://[^ ]+/mcp)$' "$WIREGATE" serve --upstream "$url" --listen 127.0.0.1:0 --admin off --capture "$tmp/modern"
modern_pid=$pid gateway=$found
modern=(--transport http --protocol-era modern)
same 'fixture, modern: tools/list' '"name":"echo"' "$url" "${modern[@]}" -- "$gateway" "${modern[@]}" -- --method tools/list
same 'fixture, modern: echo' 'hello' "$url" "${modern[@]}" -- "$gateway" "${modern[@]}" -- --method tools/call --tool-name echo --tool-arg message=hello
same 'fixture, modern: x-mcp-header' 'eu-1' "$url" "${modern[@]}" -- "$gateway" "${modern[@]}" -- --method tools/call --tool-name by_region --tool-arg region=eu-1
stop "$modern_pid"
captured "$tmp/modern" echo 1

# ---- on stdio

mkdir "$tmp/files" "$tmp/repository"
echo 'what the file says' > "$tmp/files/note.txt"
git init -q -b main "$tmp/repository"
git -C "$tmp/repository" -c user.name=t -c user.email=t@example.com commit -q --allow-empty -m 'The first commit'
cat > "$tmp/mcp.json" << JSON
{"mcpServers": {
  "files": {"command": "$(command -v node)", "args": ["$servers/mcp-server-filesystem", "$tmp/files"]},
  "files-wrapped": {"command": "$WIREGATE", "args": ["wrap", "--capture", "$tmp/wrapped", "--", "$(command -v node)", "$servers/mcp-server-filesystem", "$tmp/files"]},
  "git": {"command": "$git_server", "args": ["--repository", "$tmp/repository"]},
  "git-wrapped": {"command": "$WIREGATE", "args": ["wrap", "--capture", "$tmp/wrapped", "--", "$git_server", "--repository", "$tmp/repository"]}
}}
JSON
server() { printf '%s\n' --config "$tmp/mcp.json" --server "$1"; }
mapfile -t files < <(server files)
mapfile -t files_wrapped < <(server files-wrapped)
mapfile -t git < <(server git)
mapfile -t git_wrapped < <(server git-wrapped)
same 'filesystem: tools/list' '"name":"read_text_file"' "${files[@]}" -- "${files_wrapped[@]}" -- --method tools/list
same 'filesystem: read_text_file' 'what the file says' "${files[@]}" -- "${files_wrapped[@]}" -- --method tools/call --tool-name read_text_file --tool-arg "path=$tmp/files/note.txt"
same 'git: tools/list' '"name":"git_log"' "${git[@]}" -- "${git_wrapped[@]}" -- --method tools/list
same 'git: git_log' 'The first commit' "${git[@]}" -- "${git_wrapped[@]}" -- --method tools/call --tool-name git_log --tool-arg "repo_path=$tmp/repository"
none_left "$tmp/files"
none_left "$tmp/repository"
captured "$tmp/wrapped" read_text_file 1
captured "$tmp/wrapped" git_log 1
echo "real peers: every answer through the gateway equals the direct one, no process is left"
