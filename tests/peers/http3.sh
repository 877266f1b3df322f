#!/usr/bin/env bash
# HTTP/3 by a client that is not ours: aioquic asks a gateway with `http3: true` before the fixture, and its answers must equal
# those over HTTP/1.1. WIREGATE and FIXTURE name the binaries.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${WIREGATE:?}" "${FIXTURE:?}"

install_venv aioquic aioquic==1.7.2
start 'listening on (http://[^ ]+)' "$FIXTURE" --listen 127.0.0.1:0
fixture=$found

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost -keyout "$tmp/key.pem" -out "$tmp/cert.pem" 2> /dev/null
cat > "$tmp/wiregate.yaml" << YAML
listen: 127.0.0.1:0
admin: "off"
http3: true
tls: { cert: cert.pem, key: key.pem }
capture: { dir: capture }
servers: { fixture: { url: "$fixture" } }
YAML
start 'listening on (https://[^ ]+/mcp)$' "$WIREGATE" serve --config "$tmp/wiregate.yaml"
gateway_pid=$pid
"$installed/bin/python" "$peers/http3.py" "$found" "$tmp/cert.pem"
stop "$gateway_pid"
