#!/usr/bin/env python3
"""Opens sessions of a server that is a command and abandons them, and looks for what is left behind.

Each cycle begins a session over HTTP and then, by a seeded choice: vanishes; sends DELETE; leaves in the middle of a call;
lets the server crash in the middle of a call; leaves before the answer to `initialize`; or, in the revision without
sessions, leaves in the middle of a call. At the end, once sessions are idle:
  - no session has a process any more (the shared one, which is asked, is the only child), and the metric agrees;
  - the gateway has as many file descriptors as after the first cycles, and not much more memory.

    processes.py [CYCLES [SEED]]        WIREGATE and STDIO_ECHO name the binaries; 50 cycles by default
"""

import json
import os
import pathlib
import random
import socket
import sys
import tempfile
import time
import urllib.parse

import peer

LEGACY = "2025-11-25"
WARM_UP = 20
CONFIG = """
listen: 127.0.0.1:0
admin: 127.0.0.1:0
servers:
  echo: {{ command: {command}, args: [--quiet] }}
processes: {{ idle: 500ms, max: 64, restart_first: 1ms, restart_most: 2ms }}
limits: {{ exchanges: 64 }}
"""


def initialize():
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "peers", "version": "0"}}
    return {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}


def call(tool):
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}}


def leave(url, message, session=None, modern=False):
    """Sends a request on a connection of its own, and closes it without reading."""
    parsed = urllib.parse.urlsplit(url)
    headers = {"Host": parsed.netloc, "Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    headers["MCP-Protocol-Version"] = peer.MODERN if modern else LEGACY
    if session:
        headers["Mcp-Session-Id"] = session
    if modern:
        meta = "io.modelcontextprotocol/"
        message["params"]["_meta"] = {meta + "protocolVersion": peer.MODERN, meta + "clientCapabilities": {}}
        headers.update({"Mcp-Method": message["method"], "Mcp-Name": message["params"]["name"]})
    body = json.dumps(message).encode()
    head = f"POST {parsed.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection((parsed.hostname, parsed.port), peer.LIMIT) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


def begin(url):
    """A session, begun as soon as there is a place for its process."""
    deadline = time.monotonic() + peer.LIMIT
    while True:
        client = peer.Client(url, LEGACY)
        status, messages = client.send("POST", initialize())
        if status == 200 and client.session and "result" in messages[-1]:
            return client
        peer.check(status == 503, f"initialize: {status} {messages}")
        peer.check(time.monotonic() < deadline, "no place for a process")
        client.connection.close()


def cycle(url, way):
    if way == "unborn":
        return leave(url, initialize())
    if way == "modern":
        return leave(url, call("slow"), modern=True)
    client = begin(url)
    if way == "delete":
        status, _ = client.send("DELETE")
        peer.check(status == 204, f"DELETE: {status}")
    elif way == "mid-call":
        leave(url, call("slow"), client.session)
    elif way == "crash":
        status, messages = client.send("POST", call("crash"))
        peer.check(messages and "error" in messages[-1], f"a crash: {status} {messages}")
    client.connection.close()


def below(pid):
    """The processes below one, itself left out."""
    parents = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents.setdefault(int(stat[1]), []).append(int(entry.name))
    found, look = [], [pid]
    while look:
        own = parents.get(look.pop(), [])
        found += own
        look += own
    return found


def settled(gateway, what):
    """Waits until no process is below the gateway, and gives its file descriptors and its memory in MiB."""
    pid = gateway.child.pid
    deadline = time.monotonic() + peer.LIMIT
    while left := below(pid):
        peer.check(time.monotonic() < deadline, f"{len(left)} processes are left {what}")
        time.sleep(0.05)
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:"))
    return len(os.listdir(f"/proc/{pid}/fd")), rss / 1024


def main():
    cycles = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    chance = random.Random(seed)
    ways = ["vanish", "delete", "mid-call", "crash", "unborn", "modern"]
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "wiregate.yaml"
        config.write_text(CONFIG.format(command=peer.binary("STDIO_ECHO")))
        gateway = peer.Process([peer.binary("WIREGATE"), "serve", "--config", config, "--no-capture"])
        url, admin = gateway.wait_for(r"^listening on (\S+)"), gateway.wait_for(r"^health and metrics on (\S+)")
        began, counts, most = time.monotonic(), {way: 0 for way in ways}, 0
        for way in ways + [chance.choice(ways) for _ in range(WARM_UP - len(ways))]:
            cycle(url, way)
        fds, rss = settled(gateway, "after the first cycles")
        for _ in range(cycles):
            way = chance.choice(ways)
            counts[way] += 1
            cycle(url, way)
            most = max(most, len(below(gateway.child.pid)))
        took = time.monotonic() - began
        fds_after, rss_after = settled(gateway, "at the end")
        text = ", ".join(f"{count} {way}" for way, count in counts.items())
        print(f"processes: {cycles} cycles, seed {seed}, {took:.1f} s: {text}")
        print(f"  processes below the gateway: at most {most}, at the end 0")
        print(f"  file descriptors {fds} -> {fds_after}, anonymous memory {rss:.1f} -> {rss_after:.1f} MiB")
        peer.check(fds_after <= fds + 4, f"file descriptors grew from {fds} to {fds_after}")
        peer.check(rss_after <= rss + max(16, rss * 0.2), f"memory grew from {rss:.1f} to {rss_after:.1f} MiB")
        peer.check(peer.metric(admin, r'wiregate_processes\{server="echo"\}') == 0, "the metric counts processes")
        gateway.stop()


if __name__ == "__main__":
    main()
