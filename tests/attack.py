"""What a crowd and ill will do to the server, in figures: python tests/soak.py --attack

Another visitor asks for a small picture all the while; what it waits, and what the server holds, is the measure.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gradio_client import Client, handle_file
from PIL import Image

HUGE = (8_000, 5_000)  # 40 megapixels
IDLE = 45.0  # seconds after which the server must have given back what it took
VISITORS = 15


def resident(pid: int) -> float:
    """Megabytes of memory that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"there is no process {pid}")


class Attacks:
    """`folder` is a place for the attackers' own files."""

    def __init__(self, url: str, pid: int, folder: Path) -> None:
        self.url, self.pid, self.folder = url, pid, folder
        self.faults: list[str] = []
        self._pictures()

    def _pictures(self) -> None:
        rng = np.random.default_rng(0)
        for name, size in (("small", (64, 64)), ("photo", (1200, 900)), ("huge", HUGE)):
            noise = Image.fromarray(rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8))
            noise.resize(size, Image.Resampling.BICUBIC).save(self.folder / f"{name}.jpg", quality=80)
            mask = Image.new("L", size)
            mask.paste(255, (size[0] // 3, size[1] // 3, size[0] // 3 + size[0] // 8, size[1] // 3 + size[1] // 8))
            mask.save(self.folder / f"{name}-mask.png")
        dots = np.zeros(HUGE[::-1], dtype=np.uint8)
        dots[::128, ::128] = 255
        Image.fromarray(dots).save(self.folder / "dots.png")

    def client(self) -> Client:
        return Client(self.url, verbose=False, download_files=str(self.folder), httpx_kwargs={"timeout": 300})

    def sent(self, name: str) -> Any:
        return handle_file(self.folder / name)

    def measured(self, attack: Callable[[], Any]) -> dict[str, Any]:
        """Do it, while another visitor asks for pictures; what that took. `others_turn` is the longest time that a run
        of its that goes waited for its next scale: how long the others kept the arithmetic to themselves."""
        waits: list[float] = []
        turns: list[float] = [0.0]
        over, peak = threading.Event(), [resident(self.pid)]

        def watch() -> None:
            while not over.wait(0.1):
                peak.append(resident(self.pid))

        def ask() -> None:
            client = self.client()
            while not over.is_set():
                began = time.perf_counter()
                job, last, going = client.submit(label="0", seed=1, api_name="/generate"), began, False
                for progress, _ in job:
                    now = time.perf_counter()
                    if going:
                        turns.append(now - last)
                    last, going = now, "waiting" not in progress
                job.result()
                waits.append(time.perf_counter() - began)

        threads = [threading.Thread(target=work) for work in (watch, ask)]
        for thread in threads:
            thread.start()
        began = time.perf_counter()
        answer = attack()
        seconds = time.perf_counter() - began
        over.set()
        for thread in threads:
            thread.join()
        found = {"seconds": round(seconds, 1), "peak_mb": round(max(peak)), "others_wait": round(max(waits), 1)}
        found |= {"others_turn": round(max(turns), 1), "others_pictures": len(waits)}
        return found | ({"answer": answer} if answer else {})

    def alone(self) -> None:
        time.sleep(5)

    def visitors(self) -> None:
        """Fifteen with four candidates and one of 40 megapixels with eight; half of them go away while they wait."""
        threads = [threading.Thread(target=self._visitor, args=(number,)) for number in range(VISITORS + 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _visitor(self, number: int) -> None:
        name, many = ("photo", 4) if number < VISITORS else ("huge", 8)
        client = self.client()
        try:
            for seed in range(2):
                sent = self.sent(f"{name}.jpg"), self.sent(f"{name}-mask.png")
                job = client.submit(*sent, candidates=many, seed=seed, api_name="/inpaint")
                if number % 2 == 0 and number < VISITORS:
                    time.sleep(3)
                    job.cancel()
                else:
                    job.result()
        except Exception as error:
            self.faults.append(f"visitor {number}: {error}")

    def refused(self, api_name: str, *given: Any, **settings: Any) -> str:
        """What the server says to one request."""
        try:
            self.client().predict(*given, api_name=api_name, **settings)
        except Exception as error:
            return str(error)
        return "done"

    def crowd(self) -> str:
        """Thirty-three jobs of one client."""
        client = self.client()
        jobs = [client.submit(seed=number, candidates=8, api_name="/generate") for number in range(33)]
        ended = [job.exception() for job in jobs]
        return f"{sum(error is None for error in ended)} done, {sum(error is not None for error in ended)} refused"

    def ending(self) -> float:
        """Seconds from SIGTERM to the end, in the middle of work."""
        client = self.client()
        for seed in range(2):
            client.submit(
                self.sent("huge.jpg"), self.sent("huge-mask.png"), candidates=8, seed=seed, api_name="/inpaint"
            )
        time.sleep(4)
        began = time.perf_counter()
        os.kill(self.pid, signal.SIGTERM)
        with contextlib.suppress(FileNotFoundError):
            while Path(f"/proc/{self.pid}/stat").read_text().split()[2] != "Z":
                time.sleep(0.05)
        return round(time.perf_counter() - began, 1)


def attacked(url: str, pid: int, folder: Path) -> Iterator[tuple[str, Any]]:
    """Every attack and its figures, one after the other; the last one ends the server."""
    them = Attacks(url, pid, folder)
    them.client().predict(label="0", seed=1, api_name="/generate")
    yield "start_mb", round(resident(pid))
    yield "alone", them.measured(them.alone)
    yield "visitors", them.measured(them.visitors)
    time.sleep(IDLE)
    yield "after_visitors_mb", round(resident(pid))
    grow = {"right": 4_000, "bottom": 4_000}
    yield "outpaint", them.measured(lambda: them.refused("/outpaint", them.sent("small.jpg"), **grow))
    yield "dots", them.measured(lambda: them.refused("/inpaint", them.sent("huge.jpg"), them.sent("dots.png")))
    yield "crowd", them.measured(them.crowd)
    time.sleep(IDLE)
    yield "after_all_mb", round(resident(pid))
    yield "ending_seconds", them.ending()
    yield "faults", them.faults
