#!/usr/bin/env bash
# Installs the servers and clients of the ladder of revisions, and climbs it: `ladder.sh` all of it, else what ladder.py takes.
# WIREGATE names the binary.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${WIREGATE:?}"

install_node22
install_npm inspector @modelcontextprotocol/inspector@2.12.0
install_npm servers @modelcontextprotocol/server-everything@2026.8.31 @modelcontextprotocol/server-filesystem@2026.8.31
install_pinned everything-2024-11-05 '{}' @modelcontextprotocol/server-everything@0.6.2
install_pinned everything-2025-03-26 '{"@modelcontextprotocol/sdk": "1.11.0"}' @modelcontextprotocol/server-everything@2025.5.12
install_pinned everything-2025-06-18 '{"@modelcontextprotocol/sdk": "1.17.0"}' @modelcontextprotocol/server-everything@2025.8.18
install_venv time mcp-server-time==2026.10.19
install_venv git mcp-server-git==2026.10.19
install_venv fetch mcp-server-fetch==2026.10.24
install_venv aioquic aioquic==1.7.2
python3 "$peers/ladder.py" "$@"
