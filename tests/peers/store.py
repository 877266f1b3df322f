#!/usr/bin/env python3
"""A gateway uploads to SeaweedFS, which is killed in mid-upload and started again. Run by store.sh.

    store.py FOLDER      WEED, WIREGATE, WIREGATE_REPLAY and FIXTURE name the binaries
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import peer

CALLS, BODY = 150, 20_000
URL = "s3://captures/team/a"


def free_ports(count):
    # The store knows no port 0; and it adds 10,000 to some of them for its own protocol.
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] % 20_000 + 10_000 for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Store:
    """SeaweedFS with its S3 gateway, on a folder that outlives it."""

    def __init__(self, folder):
        self.folder = folder
        self.master, self.volume, self.filer, self.s3 = free_ports(4)
        (folder / "data").mkdir(parents=True)
        self.start()

    def start(self):
        command = [
            os.environ["WEED"], "server", f"-dir={self.folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-master.port={self.master}", f"-volume.port={self.volume}", "-volume.max=20", "-master.volumeSizeLimitMB=64",
            "-filer", f"-filer.port={self.filer}", "-s3", f"-s3.port={self.s3}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        ]  # fmt: skip
        log = open(self.folder / "weed.log", "ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask(self, method, path):
        request = urllib.request.Request(f"http://127.0.0.1:{self.s3}/{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def wait(self):
        """Until the bucket is there: a call each 0.2 s, 60 s at most."""
        over = time.monotonic() + 60
        while time.monotonic() < over:
            if self.ask("PUT", "captures") in (200, 409) and self.ask("HEAD", "captures") == 200:
                return
            peer.check(self.process.poll() is None, f"the store ended: {(self.folder / 'weed.log').read_text()[-600:]}")
            time.sleep(0.2)
        sys.exit(f"FAILED: no store: {(self.folder / 'weed.log').read_text()[-600:]}")


def metric(admin, name):
    with urllib.request.urlopen(f"{admin}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
    return 0.0


def until(what, holds, seconds=60):
    over = time.monotonic() + seconds
    while not holds():
        peer.check(time.monotonic() < over, f"not in {seconds} s: {what}")
        time.sleep(0.05)


def replay(*arguments):
    done = subprocess.run([os.environ["WIREGATE_REPLAY"], *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def same(folder, *arguments):
    """The verb says the same of the URL and of the folder."""
    verb, *rest = arguments
    here, there = (replay(verb, str(place), *rest) for place in (folder, URL))
    peer.check(here[0] in (0, 1), f"{verb}: {here[2][:300]}")
    peer.check(here[:2] == there[:2], f"{verb} differs: exits {here[0]} and {there[0]}: {there[2][:300]}")
    return here[1]


def main():
    folder = pathlib.Path(sys.argv[1])
    capture, config = folder / "capture", folder / "config.yaml"
    store = Store(folder / "store")
    os.environ.update(AWS_ENDPOINT=f"http://127.0.0.1:{store.s3}", AWS_REGION="us-east-1", AWS_SKIP_SIGNATURE="true")
    gateway = fixture = None
    try:
        store.wait()
        fixture, upstream = peer.fixture()
        config.write_text(json.dumps({
            "servers": {"fixture": {"url": upstream}},
            "capture": {"dir": str(capture), "rotate_bytes": "300kB", "rotate_every": "1s",
                        "store": {"url": URL, "attempt": "5s", "concurrency": 4}},
        }))  # fmt: skip
        command = [os.environ["WIREGATE"], "serve", "--config", str(config), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        gateway = peer.Process(command)
        url = gateway.wait_for(r"listening on (http://\S+/mcp)")
        admin = gateway.wait_for(r"^health and metrics on (\S+)")
        client = peer.Client(url)

        def calls(first):
            for id in range(first, first + CALLS):
                client.ask(id, "tools/call", {"name": "echo", "arguments": {"message": f"{id} " + os.urandom(BODY // 2).hex()}})

        calls(0)
        until("a first upload", lambda: metric(admin, "wiregate_store_uploaded_files_total") >= 1)
        store.kill()
        calls(CALLS)
        until("a failed upload", lambda: metric(admin, "wiregate_store_errors_total") >= 1)
        store.start()
        store.wait()
        calls(2 * CALLS)
        gateway.stop()
        gateway = None

        # What the end left behind, the next start sends.
        heir = peer.Process(command)
        heir.wait_for(r"listening on (http://\S+/mcp)")
        admin = heir.wait_for(r"^health and metrics on (\S+)")
        until("nothing waits", lambda: metric(admin, "wiregate_store_waiting_files") == 0)
        heir.stop()

        rows = [json.loads(line) for line in same(capture, "show", "--json", "--columns", "writer_id,seq,kind,rpc_id").splitlines()]
        names = {(row["writer_id"], row["seq"]) for row in rows}
        peer.check(len(names) == len(rows), "rows arrived twice")
        requests = {row["rpc_id"] for row in rows if row["kind"] == "request"}
        missing = [id for id in range(3 * CALLS) if str(id) not in requests]
        peer.check(not missing, f"{len(missing)} calls are missing, as {missing[:3]}")
        same(capture, "scan", "--recorded", "--json")
        files = len(list(capture.glob("date=*/hour=*/*.parquet")))
        print(f"{3 * CALLS} calls, {len(rows)} rows, {files} files: all arrived once, though the store was killed")
    finally:
        if gateway:
            gateway.kill()
        if fixture:
            fixture.kill()
        store.kill()


main()
