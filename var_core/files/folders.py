"""Many pictures with one command: which they are, which mask belongs to each, and which of them this process draws."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".heic", ".heif", ".hif", ".tif", ".tiff")
Job = TypeVar("Job")
Answer = TypeVar("Answer")
_PATIENCE = timedelta(days=30)  # one share can hold the largest pictures of a large folder


def pictures(folder: Path) -> list[Path]:
    """The pictures of a folder and its subfolders; nothing hidden, such as a Mac's `._a.jpg`."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def pairs(folder: Path, masks: Path) -> list[tuple[Path, Path | None]]:
    """The pictures of a folder, each with its mask: `masks` itself, or what lies in that folder (which may be the
    same) at the same place under the same name, or with `_mask` after it; None where there is nothing. Capitals, the
    kind of picture and the form of accents make no difference."""
    if not masks.is_dir():
        return [(path, masks) for path in pictures(folder)]
    named = {_name(path, masks): path for path in reversed(pictures(masks))}
    beside = masks.resolve() == folder.resolve()
    own = [(path, _name(path, folder)) for path in pictures(folder) if beside or masks not in path.parents]
    return [
        (path, named.get(name + "_mask", None if beside else named.get(name)))
        for path, name in own
        if not (beside and name.endswith("_mask"))
    ]


def _name(path: Path, folder: Path) -> str:
    return unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix()).casefold()


def each(jobs: Iterable[Job], work: Callable[[Job], Answer]) -> Iterator[tuple[Job, Answer | None, str]]:
    """Every job with its answer, or with the sentence why there is none; whatever fails, the next one is done."""
    for job in jobs:
        try:
            yield job, work(job), ""
        except (ValueError, OSError) as error:
            yield job, None, str(error)
        except Exception as error:
            logging.getLogger(__name__).exception("unexpected")
            yield job, None, f"{type(error).__name__}: {error}"


def own_share(jobs: list[Job]) -> list[Job]:
    """Under `torchrun`, every WORLD_SIZE-th job from RANK on; all of them otherwise."""
    return jobs[int(os.environ.get("RANK", "0")) :: int(os.environ.get("WORLD_SIZE", "1"))]


def wait_for_others() -> None:
    """Under `torchrun`, until every process has drawn its share: the first one that ends with a fault ends the others,
    and what they had still to draw would be missing."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group("gloo", timeout=_PATIENCE)
        dist.barrier()
        dist.destroy_process_group()


def own_device(device: str | None) -> str | None:
    """Under `torchrun` on GPUs, this process's own; what the command line says otherwise."""
    if device in (None, "cuda") and "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device
