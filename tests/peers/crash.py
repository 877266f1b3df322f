#!/usr/bin/env python3
"""Kills `wiregate serve` with -9 under load, ten times or KILLS, and counts what the next start has saved.

After each restart the whole folder passes `wiregate-replay verify`, nothing half-made is visible in it, and for the writer
that was killed:
  - there are at least as many rows as `wiregate_capture_durable_total` said just before the kill: what had reached the
    journal is a lower bound, since the number is a little older than the kill;
  - every exchange that was answered more than a second before the kill is there, request and response;
  - no row is there twice, and no hole is untold.

    crash.py [KILLS]        WIREGATE, WIREGATE_REPLAY and FIXTURE name the binaries
"""

import http.client
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

import peer

CLIENTS = 4
SETTLED = 1.0  # seconds; the journal is synced every 5 ms, this is for a busy machine


class Load:
    """Clients that call `echo` until their gateway dies, and remember when each answer came."""

    def __init__(self, url, run):
        self.answered, self.wrong = {}, []
        self.killed = float("inf")  # when; an error before is a failure
        self.threads = [threading.Thread(target=self.client, args=(url, f"r{run}c{n}")) for n in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def client(self, url, name):
        n = 0
        try:
            client = peer.Client(url)
            while True:
                id = f"{name}n{n}"
                if not client.echo(id, f"hello {id}"):
                    self.wrong.append(id)
                self.answered[id] = time.monotonic()
                n += 1
        except (OSError, http.client.HTTPException) as error:  # the gateway died, which is the point
            if time.monotonic() < self.killed:
                self.wrong.append(f"{name}n{n}: {error!r}")

    def join(self):
        for thread in self.threads:
            thread.join(peer.LIMIT)
            peer.check(not thread.is_alive(), "a client hangs on a dead gateway")


def crash(upstream, capture, run):
    """One gateway from start to kill: what it answered early enough, and what it said was durable."""
    gateway, url, admin = peer.gateway(upstream, capture)
    load = Load(url, run)
    until = time.monotonic() + SETTLED + 0.2 + 0.05 * (run % 20)  # another moment each time
    durable = 0
    while time.monotonic() < until or durable < 100:
        durable = int(peer.metric(admin, "wiregate_capture_durable_total"))
        peer.check(time.monotonic() < until + peer.LIMIT, "nothing becomes durable")
    # Not always at the same distance from the journal's last sync.
    time.sleep(random.Random(run).uniform(0, 0.03))
    load.killed = time.monotonic()
    gateway.kill()
    load.join()
    peer.check(not load.wrong, f"wrong answers before the kill: {load.wrong[:5]}")
    settled = {id for id, at in load.answered.items() if at < load.killed - SETTLED}
    return settled, durable, len(load.answered)


def verify(own, settled, durable, run):
    peer.check(len(own) >= durable, f"kill {run}: {durable} rows were durable, {len(own)} came back")
    for kind in ("request", "response"):
        found = {row["rpc_id"].strip('"') for row in own if row["kind"] == kind and row["leg"] == "client"}
        missing = settled - found
        peer.check(not missing, f"kill {run}: {len(missing)} settled {kind}s are lost, e.g. {sorted(missing)[:3]}")


def whole(capture, run):
    """The folder verifies, and holds no file in the making."""
    command = [peer.binary("WIREGATE_REPLAY"), "verify", "--json", str(capture)]
    verified = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=peer.LIMIT * 2)
    peer.check(verified.returncode == 0, f"kill {run}: verify: {(verified.stdout + verified.stderr).decode()[-2000:]}")
    torn = [*pathlib.Path(capture).rglob("*.tmp"), *peer.journals(capture)]
    peer.check(not torn, f"kill {run}: left over: {torn[:3]}")


def main():
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    fixture, upstream = peer.fixture()
    known, answered, recovered, above = set(), 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="wiregate-crash-") as folder:
        capture = pathlib.Path(folder) / "capture"
        try:
            for run in range(kills):
                settled, durable, count = crash(upstream, capture, run)
                peer.check(settled, f"kill {run}: nothing was answered early enough to be counted")
                # The next start recovers before it listens; it may write nothing itself.
                restarted, _, _ = peer.gateway(upstream, capture)
                writers = peer.by_writer(peer.rows(capture))
                restarted.stop()
                whole(capture, run)
                fresh = set(writers) - known
                peer.check(len(fresh) == 1, f"kill {run}: rows of {len(fresh)} new writers, not of one")
                known |= fresh
                own = writers[fresh.pop()]
                verify(own, settled, durable, run)
                answered, recovered, above = answered + count, recovered + len(own), above + len(own) - durable
            total = sum(map(len, peer.by_writer(peer.rows(capture)).values()))
            peer.check(total == recovered, f"{recovered} rows were recovered, {total} are there at the end")
        finally:
            fixture.kill()
    print(f"{kills} kills, {answered} exchanges answered, {recovered} rows recovered ({above} more than were known to be durable), none lost, none twice")


main()
