#!/usr/bin/env python3
"""The ladder of revisions: real servers of each revision and transport behind one gateway, each reached by clients of both
eras over every transport. One tool call a cell; the answer must be the server's own. Prints one table, and exits 1 when a cell
failed that EXPECTED does not name, or one did not fail that it names.

    ladder.py [--servers TEXT] [--clients TEXT] [--write FILE]

ladder.sh installs what this needs and sets the paths. Without --servers or --clients, all.
"""

import argparse
import concurrent.futures
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
NPM = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "wiregate" / "npm"
VENV = NPM.parent / "venv"
WIREGATE = os.environ["WIREGATE"]

# A cell that can't work, and why.
EXPECTED = {}


def everything(folder, file):
    return ["node", str(NPM / folder / "node_modules/@modelcontextprotocol/server-everything/dist" / file)]


ECHO = ("echo", {"message": "hello"}, "hello")


def rows(tmp, page):
    """(name, revision, transport, command, tool, arguments, what its answer holds)"""
    old, first, second, newest = "everything-2024-11-05", "everything-2025-03-26", "everything-2025-06-18", "servers"
    yield "everything 0.6.2", "2024-11-05", "stdio", everything(old, "index.js"), *ECHO
    yield "everything 0.6.2", "2024-11-05", "sse", everything(old, "sse.js"), *ECHO
    for version, revision, folder in [
        ("everything 2025.5.12", "2025-03-26", first),
        ("everything 2025.8.18", "2025-06-18", second),
        ("everything 2026.8.31", "2025-11-25", newest),
    ]:
        for transport, mode in [("stdio", "stdio"), ("sse", "sse"), ("http", "streamableHttp")]:
            yield version, revision, transport, [*everything(folder, "index.js"), mode], *ECHO
    yield "time 2026.10.19", "2026-07-28", "stdio", [str(VENV / "time/bin/mcp-server-time")], "get_current_time", {"timezone": "UTC"}, "UTC"
    repository = tmp / "repository"
    git = [str(VENV / "git/bin/mcp-server-git"), "--repository", str(repository)]
    yield "git 2026.10.19", "2026-07-28", "stdio", git, "git_log", {"repo_path": str(repository)}, "The first commit"
    fetch = [str(VENV / "fetch/bin/mcp-server-fetch"), "--ignore-robots-txt", "--allow-private-ips"]
    yield "fetch 2026.10.24", "2026-07-28", "stdio", fetch, "fetch", {"url": page, "raw": True}, "what the page says"


CLIENTS = [
    "http legacy", "http auto", "http modern", "sse legacy", "stdio legacy", "stdio auto", "stdio modern",
    "websocket", "websocket (node)", "http/3", "http/3 (aioquic)",
]


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<html><body><p>what the page says</p></body></html>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Started:
    """Processes of this run, with the line of output that says they are up."""

    def __init__(self, tmp):
        self.tmp, self.all = tmp, []

    def start(self, command, pattern, env=None, name="process"):
        log = open(self.tmp / f"{name}-{len(self.all)}.log", "w+b")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
        self.all.append(process)
        for line in process.stdout:
            log.write(line)
            found = re.search(pattern, line.decode(errors="replace"))
            if found:
                threading.Thread(target=lambda: [log.write(rest) for rest in process.stdout], daemon=True).start()
                return (found.group(1) if found.groups() else ""), process
        log.seek(0)
        raise SystemExit(f"no line like {pattern!r} from {command}:\n{log.read().decode()[-2000:]}")

    def stop(self):
        for process in reversed(self.all):
            process.terminate()
        for process in self.all:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def certificate(tmp):
    """A certificate for 127.0.0.1 and localhost that is its own authority, as PEM files."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-keyout", tmp / "key.pem",
         "-out", tmp / "cert.pem", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-addext", "basicConstraints=critical,CA:FALSE"],
        check=True, capture_output=True,
    )


def inspector(arguments, tool, args):
    launcher = NPM / "inspector/node_modules/.bin/mcp-inspector"
    command = [str(launcher), "--cli", *arguments, "--method", "tools/call", "--tool-name", tool]
    for name, value in args.items():
        command += ["--tool-arg", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return [*command, "--format", "json"]


# Servers that serve one client after the other and end with it: each cell has them for itself, started anew.
FRAGILE = {("everything 0.6.2", "sse"), ("everything 2025.5.12", "sse"), ("everything 2025.5.12", "http")}


class Revived:
    """A server that ends with its client, and is there again for the next."""

    def __init__(self, started, command, port, name):
        self.lock, self.process = threading.Lock(), None
        self.started, self.command, self.port, self.name = started, command, port, name

    def __enter__(self):
        self.lock.acquire()
        try:
            if self.process:
                self.process.kill()
                self.process.wait()
            self.process = self.started.start(self.command, UP, {"PORT": str(self.port)}, self.name)[1]
        except BaseException:
            self.lock.release()
            raise

    def __exit__(self, *_):
        self.lock.release()


UP = r"(?i)listening|running on"


def cell(client, name, row, faces, tmp, alone):
    """What a client said: '' when the answer was the server's, else what went wrong."""
    if name not in alone:
        return asked(client, name, row, faces, tmp)
    # The gateway's connections may still be those to the server before: the first call can break on one.
    for _ in range(2):
        with alone[name]:
            failure = asked(client, name, row, faces, tmp)
        if not failure:
            break
    return failure


def asked(client, name, row, faces, tmp):
    _, _, _, _, tool, args, needle = row
    kind, _, era = client.partition(" ")
    if kind == "http":
        command = inspector([f"{faces['http']}/mcp/{name}", "--transport", "http", "--protocol-era", era], tool, args)
    elif kind == "sse":
        command = inspector([f"{faces['http']}/sse/{name}", "--transport", "sse", "--protocol-era", era], tool, args)
    elif kind == "stdio":
        config = tmp / f"stdio-{name}.json"
        wrap = ["wrap", "--no-capture", "--upstream", f"{faces['http']}/mcp/{name}"]
        config.write_text(json.dumps({"mcpServers": {"it": {"command": WIREGATE, "args": wrap}}}))
        command = inspector(["--config", str(config), "--server", "it", "--protocol-era", era], tool, args)
    elif client == "websocket":
        command = inspector([f"{faces['by websocket']}/mcp/{name}", "--transport", "http", "--protocol-era", "auto"], tool, args)
    elif client == "http/3":
        command = inspector([f"{faces['by http/3']}/mcp/{name}", "--transport", "http", "--protocol-era", "auto"], tool, args)
    elif client == "websocket (node)":
        command = ["node", str(HERE / "websocket.mjs"), f"{faces['http'].replace('http', 'ws')}/mcp/{name}", tool, json.dumps(args)]
    else:
        one = [f"{faces['https']}/mcp/{name}", str(tmp / "cert.pem"), tool, json.dumps(args)]
        command = [str(VENV / "aioquic/bin/python"), str(HERE / "http3.py"), *one]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, env={**os.environ, "MCP_INSPECTOR_SECRET_STORE": "memory"})
    except subprocess.TimeoutExpired:
        return "no end in 60 s"
    out = done.stdout.decode(errors="replace")
    if done.returncode == 0 and needle in out:
        return ""
    return f"exit {done.returncode}: {(done.stderr.decode(errors='replace') + out)[-600:]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default="")
    parser.add_argument("--clients", default="")
    parser.add_argument("--write", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wiregate-ladder.") as folder:
        sys.exit(run(options, pathlib.Path(folder)))


def run(options, tmp):
    os.environ["XDG_STATE_HOME"] = str(tmp / "state")
    subprocess.run(["git", "init", "-q", "-b", "main", tmp / "repository"], check=True)
    commit = ["commit", "-q", "--allow-empty", "-m", "The first commit"]
    subprocess.run(["git", "-C", tmp / "repository", "-c", "user.name=t", "-c", "user.email=t@example.com", *commit], check=True)
    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    chosen = [row for row in rows(tmp, f"http://127.0.0.1:{pages.server_port}/") if options.servers in f"{row[0]} {row[1]} {row[2]}"]
    clients = [client for client in CLIENTS if options.clients in client]
    started = Started(tmp)
    try:
        return climb(options, tmp, chosen, clients, started)
    finally:
        started.stop()
        pages.shutdown()


def climb(options, tmp, chosen, clients, started):
    servers, alone = {}, {}
    for number, (version, revision, transport, command, *_) in enumerate(chosen):
        name = re.sub(r"[^a-z0-9]+", "-", f"{version} {transport}")
        if transport == "stdio":
            servers[name] = {"command": command[0], "args": command[1:]}
        else:
            port = free_port()
            if (version, transport) in FRAGILE:
                alone[name] = Revived(started, command, port, f"server-{number}")
            else:
                started.start(command, UP, {"PORT": str(port)}, f"server-{number}")
            path = "sse" if transport == "sse" else "mcp"
            servers[name] = {"url": f"http://127.0.0.1:{port}/{path}"}
    certificate(tmp)
    faces = gateways(tmp, servers, started, clients)
    cells = {}
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        waiting = {
            pool.submit(cell, client, name, row, faces, tmp, alone): (name, client)
            for name, row in zip(servers, chosen) for client in clients
        }
        for done in concurrent.futures.as_completed(waiting):
            cells[waiting[done]] = done.result()
    return told(options, servers, chosen, clients, cells)


def gateways(tmp, servers, started, clients):
    """One gateway with HTTP, one with TLS and HTTP/3, and one in front of each as a client of its own."""
    def serve(name, config):
        file = tmp / f"{name}.yaml"
        file.write_text(json.dumps({"listen": "127.0.0.1:0", "admin": "off", "capture": {"enabled": False}, **config}))
        command = [WIREGATE, "serve", "--config", str(file)]
        return started.start(command, r"listening on (https?://127\.0\.0\.1:\d+)", name=name)[0]

    faces = {"http": serve("http", {"servers": servers})}
    if any(client.startswith("http/3") for client in clients):
        tls = {"cert": str(tmp / "cert.pem"), "key": str(tmp / "key.pem")}
        faces["https"] = serve("https", {"servers": servers, "tls": tls, "http3": True})
        by = {name: {"url": f"{faces['https']}/mcp/{name}", "transport": "http3", "ca": str(tmp / "cert.pem")} for name in servers}
        faces["by http/3"] = serve("by-http3", {"servers": by})
    if "websocket" in clients:
        by = {name: {"url": f"{faces['http'].replace('http', 'ws')}/mcp/{name}"} for name in servers}
        faces["by websocket"] = serve("by-websocket", {"servers": by})
    return faces


def told(options, servers, chosen, clients, cells):
    lines = ["| server | revision | transport | " + " | ".join(clients) + " |", "|---" * (3 + len(clients)) + "|"]
    wrong = 0
    for name, (version, revision, transport, *_) in zip(servers, chosen):
        marks = []
        for client in clients:
            failure, reason = cells[name, client], EXPECTED.get((name, client)) or EXPECTED.get(("", client))
            marks.append("yes" if not failure else "no")
            if bool(failure) != bool(reason):
                wrong += 1
                print(f"{name}, {client}: {failure or 'it was expected to fail: ' + reason}", file=sys.stderr)
        lines.append(f"| {version} | {revision} | {transport} | " + " | ".join(marks) + " |")
    table = "\n".join(lines) + "\n"
    print(table)
    good = sum(not failure for failure in cells.values())
    print(f"{good} of {len(cells)} cells answered, {wrong} not as expected")
    if options.write:
        options.write.write_text(table)
    return 1 if wrong else 0


main()
