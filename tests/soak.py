"""Many requests from several programs at once, and many stops: python tests/soak.py [--requests 200] [--clients 4]
With --attack instead what a crowd and ill will do (`attack`).

Every answer is checked: a client's pixels outside its own mask, and equal bytes for equal seeds. The last line is one
JSON document: errors, and the server's memory early, late and after the stops.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from attack import attacked, resident
from gradio_client import Client, handle_file
from page_server import serve
from PIL import Image

WARM = 0.25  # share of the requests after which the memory must stay flat


def used(folder: Path) -> float:
    """Megabytes of files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


class Soak:
    """What the clients share: the count of requests and what went wrong."""

    def __init__(self, url: str, pid: int, folder: Path, requests: int) -> None:
        self.url, self.pid, self.folder, self.requests = url, pid, folder, requests
        self.sent = 0
        self.faults: list[str] = []
        self.kinds: Counter[str] = Counter()
        self.early = 0.0
        self.by_seed: dict[int, bytes] = {}
        self.lock = threading.Lock()

    def next(self) -> int | None:
        with self.lock:
            if self.sent == int(WARM * self.requests):
                self.early = resident(self.pid)
            self.sent += 1
            if self.sent % 50 == 0:
                print(f"{self.sent} requests, {resident(self.pid):.0f} MB", file=sys.stderr)
            return self.sent if self.sent <= self.requests else None

    def client(self, number: int) -> None:
        """One client with a photo of its own, until the requests are used up."""
        rng = np.random.default_rng(number)
        width, height = 200 + 40 * number, 150 + 30 * number
        photo = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        mask = Image.new("L", photo.size)
        mask.paste(255, (20, 20, 90, 80))
        home = self.folder / f"client-{number}"
        home.mkdir()
        photo.save(home / "photo.png")
        mask.save(home / "mask.png")
        client = Client(self.url, verbose=False, download_files=str(home))
        while (turn := self.next()) is not None:
            kind = ("inpaint", "generate", "vary", "outpaint", "branch")[turn % 5]
            try:
                self._request(client, kind, turn, photo, mask, home)
            except Exception as error:
                self.faults.append(f"{kind}: {type(error).__name__}: {error}")

    def _request(self, client: Client, kind: str, turn: int, photo: Image.Image, mask: Image.Image, home: Path) -> None:
        sent, seed = handle_file(home / "photo.png"), turn % 7
        if kind == "inpaint":
            arguments = {"image": sent, "mask": handle_file(home / "mask.png"), "feather": 0}
        elif kind == "generate":
            arguments = {"label": "0"}
        elif kind == "vary":
            arguments = {"image": sent, "start_scale": 4}
        elif kind == "outpaint":
            arguments = {"image": sent, "right": 30, "feather": 0}
        else:
            client.predict(label="1", seed=seed, api_name="/generate")
            arguments = {"start_scale": 5}
        _, files = client.predict(**arguments, seed=seed, api_name=f"/{kind}")
        with Image.open(files[0]) as opened:
            made = np.asarray(opened.convert("RGB"))
        before = np.asarray(photo)
        if kind == "inpaint":
            outside = np.asarray(mask) == 0
            assert made.shape == before.shape and np.array_equal(made[outside], before[outside]), "another's picture"
        elif kind == "outpaint":
            assert np.array_equal(made[:, : photo.width], before), "another's picture"
        elif kind == "generate":
            with self.lock:
                assert self.by_seed.setdefault(seed, made.tobytes()) == made.tobytes(), "equal seeds differ"
        with self.lock:
            self.kinds[kind] += 1

    def stops(self, count: int) -> None:
        """Begin runs and stop each after its first picture."""
        client = Client(self.url, verbose=False, download_files=str(self.folder))
        for seed in range(count):
            job = client.submit(label="0", seed=seed, candidates=4, api_name="/generate")
            deadline = time.time() + 30
            while not job.outputs() and time.time() < deadline:
                time.sleep(0.01)
            job.cancel()
        client.predict(label="0", seed=1, api_name="/generate")  # the engine is free again


def soak(url: str, pid: int, folder: Path, requests: int = 200, clients: int = 4, stops: int = 50) -> dict:
    """Run it all; folder is a place for the clients' own files."""
    work = Soak(url, pid, folder, requests)
    threads = [threading.Thread(target=work.client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    late = resident(pid)
    work.stops(stops)
    return {
        "requests": sum(work.kinds.values()),
        "faults": work.faults,
        "early_mb": round(work.early, 1),
        "late_mb": round(late, 1),
        "after_stops_mb": round(resident(pid), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="garden-2")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--attack", action="store_true", help="measure what a crowd and ill will do instead")
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    with tempfile.TemporaryDirectory() as name:
        folder, own = Path(name), Path(name) / "clients"
        own.mkdir()
        server = folder / "server"
        server.mkdir()
        with serve(args.model, server) as url:
            pid = int((server / "pid").read_text())
            if args.attack:
                found = {}
                for name, figures in attacked(url, pid, own):
                    print(name, json.dumps(figures), file=sys.stderr, flush=True)
                    found[name] = figures
            else:
                found = soak(url, pid, own, args.requests, args.clients, args.stops)
            found["files_mb"] = round(used(server), 1)
        found["left"] = sorted(path.name for path in server.iterdir())
    print(json.dumps(found))
    sys.exit(bool(found["faults"]))


if __name__ == "__main__":
    main()
