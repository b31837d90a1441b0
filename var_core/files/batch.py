"""Many pictures with one command: shared by processes of this machine (--workers) or of several (torchrun)."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import torch

Job = argparse.Namespace
Answer = dict[str, Any]
Work = Callable[[Any, Job], Answer]

_engine: Any = None  # of this worker process


def own_share(jobs: list[Job]) -> list[Job]:
    """Under `torchrun`, every WORLD_SIZE-th job from RANK on; all of them otherwise."""
    return jobs[int(os.environ.get("RANK", "0")) :: int(os.environ.get("WORLD_SIZE", "1"))]


def own_device(device: str | None) -> str | None:
    """Under `torchrun` on GPUs, this process's own; what the command line says otherwise."""
    if device in (None, "cuda") and "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device


def _start(load: Callable[[], Any], threads: int) -> None:
    global _engine
    torch.set_num_threads(threads)
    _engine = load()


def _try(engine: Any, work: Work, job: Job) -> tuple[Job, Answer | None, str]:
    try:
        return job, work(engine, job), ""
    except (ValueError, OSError) as error:
        return job, None, str(error)


def _run(work: Work, job: Job) -> tuple[Job, Answer | None, str]:
    return _try(_engine, work, job)


def draw_all(
    jobs: list[Job], load: Callable[[], Any], work: Work, workers: int
) -> Iterator[tuple[Job, Answer | None, str]]:
    """Each job as it ends, with its answer or with the sentence why there is none. `load` makes an engine, once a
    process, and `work` uses it; both must be importable. A picture is the same whatever the number of workers, as far
    as products of other shapes round alike: none depends on another."""
    if workers <= 1:
        engine = load()
        for job in jobs:
            yield _try(engine, work, job)
        return
    threads = max(1, torch.get_num_threads() // workers)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), context, _start, (load, threads)) as pool:
        waiting = [pool.submit(_run, work, job) for job in jobs]
        try:
            for future in as_completed(waiting):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
