#!/usr/bin/env bash
# Honest traffic: server-filesystem, git, memory, sqlite, fetch and everything serve real documentation and code through the
# gateway; at most 0.5 % of their results may be flagged. WIREGATE and WIREGATE_REPLAY name the binaries.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${WIREGATE:?}" "${WIREGATE_REPLAY:?}"

install_node22
install_npm benign @modelcontextprotocol/server-everything@2026.8.31 @modelcontextprotocol/server-filesystem@2026.8.31 @modelcontextprotocol/server-memory@2026.8.31
servers=$installed
install_venv git mcp-server-git==2026.10.19
git_server=$installed/bin/mcp-server-git
install_venv fetch mcp-server-fetch==2026.10.24
fetch_server=$installed/bin/mcp-server-fetch
install_venv sqlite mcp-server-sqlite==2025.4.25 'mcp<2'
sqlite_server=$installed/bin/mcp-server-sqlite

# the memory server keeps its graph in a file beside itself otherwise
export MEMORY_FILE_PATH=$tmp/memory.jsonl
python3 "$peers/benign.py" "$(command -v node)" "$servers" "$git_server" "$fetch_server" "$sqlite_server"
