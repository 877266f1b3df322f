#!/usr/bin/env python3
"""Eight `wiregate wrap` processes record into one folder; one is killed with -9.

The other seven end in order and their rows are complete. The killed one's child is gone, and its rows are saved by the
next start. The server behind each is this script itself (`wraps.py --server`): JSON-RPC lines on stdio, nothing more.

    wraps.py        WIREGATE and WIREGATE_REPLAY name the binaries
"""

import json
import os
import pathlib
import sys
import tempfile
import threading
import time

import peer

WRAPS, CALLS = 8, 50
SETTLED = 1.0  # seconds between the victim's last answer and its end


def serve():
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            result = {"content": [{"type": "text", "text": str(os.getpid())}]}
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)


class Wrap:
    """One wrapped server and the calls that were answered through it."""

    def __init__(self, capture, name):
        server = [sys.executable, os.path.abspath(__file__), "--server"]
        command = [peer.binary("WIREGATE"), "wrap", "--name", name, "--capture", capture, "--", *server]
        self.name, self.process, self.ids = name, peer.Process(command, stdin=True), []

    def call(self):
        id = f"{self.name}-{len(self.ids)}"
        answer = self.process.ask({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "pid", "arguments": {}}})
        peer.check(answer.get("id") == id, f"{self.name}: {answer}")
        self.ids.append(json.dumps(id))
        return int(answer["result"]["content"][0]["text"])


def together(wraps, until):
    """Calls through all of them at once, each in its own thread, until each says that it has enough."""
    failures = []

    def run(wrap):
        try:
            while not until(wrap):
                wrap.call()
        except SystemExit as error:
            failures.append(str(error))

    threads = [threading.Thread(target=run, args=(wrap,)) for wrap in wraps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    peer.check(not failures, failures[:1])


def main():
    with tempfile.TemporaryDirectory(prefix="wiregate-wraps-") as folder:
        capture = pathlib.Path(folder) / "capture"
        wraps = [Wrap(capture, f"w{n}") for n in range(WRAPS)]
        children = [wrap.call() for wrap in wraps]
        together(wraps, lambda wrap: len(wrap.ids) >= CALLS)

        # The others' traffic is the wait for the victim's journal to be synced.
        victim, others = wraps[0], wraps[1:]
        over = time.monotonic() + SETTLED
        together(others, lambda _: time.monotonic() > over)
        victim.process.kill()
        peer.check(peer.wait_gone(children[0]), "the killed wrap's child lives on")

        for wrap in others:
            wrap.call()
            wrap.process.stop()
        for child in children[1:]:
            peer.check(peer.wait_gone(child), "a child lives on after its wrap ended in order")

        heir = Wrap(capture, "heir")
        heir.call()
        heir.process.stop()

        writers = peer.by_writer(peer.rows(capture))
        peer.check(len(writers) == WRAPS + 1, f"rows of {len(writers)} writers, not of {WRAPS + 1}")
        by_server = {own[0]["server"]: own for own in writers.values()}
        for wrap in [*wraps, heir]:
            own = by_server.get(wrap.name, [])
            for kind in ("request", "response"):
                found = [row["rpc_id"] for row in own if row["kind"] == kind and row["leg"] == "client"]
                peer.check(found == wrap.ids, f"{wrap.name}: {len(found)} {kind}s recorded, {len(wrap.ids)} were made")
        left = peer.journals(capture)
        peer.check(not left, f"journals are left over: {left[:3]}")
        calls = sum(len(wrap.ids) for wrap in wraps)
        print(f"{WRAPS} wraps, {calls} calls, {sum(map(len, writers.values()))} rows, one killed: none lost, no child left")


if sys.argv[1:] == ["--server"]:
    serve()
else:
    main()
