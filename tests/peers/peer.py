"""What the Python scripts of this folder share: processes that are waited for, an MCP client over http.client, captures.

Only the standard library. Every wait is for an event (a line, a process's end, an answer) and has a limit.
"""

import http.client
import json
import os
import pathlib
import queue
import re
import select
import signal
import subprocess
import threading
import time
import urllib.parse

LIMIT = 60  # seconds that any one event may take
MODERN = "2026-07-28"


def binary(name):
    """The path in the environment variable `name`."""
    path = os.environ.get(name)
    if not path:
        raise SystemExit(f"{name} must name a binary")
    return path


def check(holds, message):
    if not holds:
        raise SystemExit(f"FAILED: {message}")


class Process:
    """A child whose output (stderr and, unless `stdin`, stdout) is read line by line all the time."""

    def __init__(self, command, stdin=False):
        self.command = [str(word) for word in command]
        self.child = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if stdin else subprocess.STDOUT,
        )
        self.seen, self.lines, self.answers = [], queue.Queue(), queue.Queue()
        self._read(self.child.stderr if stdin else self.child.stdout, self.lines, self.seen)
        if stdin:
            self._read(self.child.stdout, self.answers, None)

    def _read(self, pipe, to, keep):
        def read():
            for line in pipe:
                line = line.decode(errors="replace").rstrip("\n")
                if keep is not None:
                    keep.append(line)
                to.put(line)
            to.put(None)

        threading.Thread(target=read, daemon=True).start()

    def wait_for(self, regex):
        """The first group of the next line that matches."""
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise SystemExit(f"FAILED: no line like '{regex}' from {self.command}:\n" + "\n".join(self.seen[-20:]))
            if match := re.search(regex, line):
                return match[1]

    def ask(self, message):
        """Sends one line of JSON and returns the next line of the answer, for servers on stdio."""
        self.child.stdin.write(json.dumps(message).encode() + b"\n")
        self.child.stdin.flush()
        try:
            line = self.answers.get(timeout=LIMIT)
        except queue.Empty:
            line = None
        check(line is not None, f"no answer from {self.command}:\n" + "\n".join(self.seen[-20:]))
        return json.loads(line)

    def kill(self):
        """kill -9, and its end."""
        self.child.send_signal(signal.SIGKILL)
        self.child.wait(LIMIT)

    def stop(self):
        """SIGTERM, or the end of stdin, and its end in order."""
        if self.child.stdin:
            self.child.stdin.close()
        else:
            self.child.terminate()
        status = self.child.wait(LIMIT)
        check(status == 0, f"{self.command} ended with {status}:\n" + "\n".join(self.seen[-20:]))


def fixture():
    process = Process([binary("FIXTURE"), "--listen", "127.0.0.1:0"])
    return process, process.wait_for(r"listening on (\S+)")


def gateway(upstream, capture):
    """`wiregate serve`: the process, its URL, and the address of its metrics."""
    arguments = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--capture", capture]
    process = Process([binary("WIREGATE"), "serve", "--upstream", upstream, *arguments])
    return process, process.wait_for(r"^listening on (\S+)"), process.wait_for(r"^health and metrics on (\S+)")


class Client:
    """One kept-alive connection."""

    def __init__(self, url, version=MODERN, key=None):
        parsed = urllib.parse.urlsplit(url)
        self.path, self.version, self.session, self.key = parsed.path, version, None, key
        self.connection = http.client.HTTPConnection(parsed.hostname, parsed.port, timeout=LIMIT)

    def send(self, method, message=None):
        """One HTTP exchange: the status and the JSON-RPC messages of the answer, event stream or not."""
        headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": self.version}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        if self.session:
            headers["Mcp-Session-Id"] = self.session
        body = None
        if message is not None:
            headers["Content-Type"] = "application/json"
            if self.version == MODERN:
                headers["Mcp-Method"] = message["method"]
                if "name" in message["params"]:
                    headers["Mcp-Name"] = message["params"]["name"]
            body = json.dumps(message)
        self.connection.request(method, self.path, body, headers)
        answer = self.connection.getresponse()
        text = answer.read().decode()
        self.session = answer.getheader("Mcp-Session-Id") or self.session
        if "event-stream" in (answer.getheader("Content-Type") or ""):
            messages = [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:") and line[5:].strip()]
        else:
            messages = [json.loads(text)] if text else []
        return answer.status, messages

    def ask(self, id, method, params, meta=None):
        """A request and its answer: the last message of what comes back."""
        if self.version == MODERN:
            meta = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {"name": "peers", "version": "0"},
                "io.modelcontextprotocol/clientCapabilities": {},
                **(meta or {}),
            }
        params = {**params, "_meta": meta} if meta else params
        status, messages = self.send("POST", {"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        check(messages, f"{method}: status {status} and no message")
        return messages

    def echo(self, id, text):
        answer = self.ask(id, "tools/call", {"name": "echo", "arguments": {"message": text}})[-1]
        return answer.get("id") == id and answer["result"]["content"][0]["text"] == text


def metric(admin, name):
    """A metric without labels, as a number."""
    parsed = urllib.parse.urlsplit(admin)
    connection = http.client.HTTPConnection(parsed.hostname, parsed.port, timeout=LIMIT)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    match = re.search(rf"^{name} (\S+)", text, re.MULTILINE)
    check(match, f"no metric {name}")
    return float(match[1])


def rows(capture):
    """All rows of a capture, through `wiregate-replay show --json`."""
    command = [binary("WIREGATE_REPLAY"), "show", "--json", str(capture)]
    shown = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=LIMIT * 2)
    return [json.loads(line) for line in shown.stdout.splitlines()]


def by_writer(all_rows):
    """writer id -> its rows in order; fails on rows that are there twice, and on holes that no gap row tells."""
    writers = {}
    for row in all_rows:
        writers.setdefault(row["writer_id"], []).append(row)
    for writer, own in writers.items():
        own.sort(key=lambda row: row["seq"])
        seqs = [row["seq"] for row in own]
        check(len(set(seqs)) == len(seqs), f"{writer}: a row is there twice")
        for before, after in zip(own, own[1:]):
            told = after["kind"] == "gap" or after.get("dropped_before")
            check(after["seq"] == before["seq"] + 1 or told, f"{writer}: a hole after {before['seq']}, not told")
    return writers


def journals(capture):
    """The journal segments that are still there."""
    return sorted(pathlib.Path(capture).glob("journal/*/*.wal"))


def wait_gone(pid):
    """Waits until a process that is not our child is gone. True when it went."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], LIMIT)[0])
    finally:
        os.close(handle)
