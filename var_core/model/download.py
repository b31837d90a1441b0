"""Fetching official files from the model hub into the hub's own cache.

The hub's client (2.x) no longer resumes a download that another process left half done, so the partial file and
the check of its digest are ours; requests, retries and the progress bar are the client's.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

import httpx2  # the client of huggingface-hub 2.x
from huggingface_hub import HfFileMetadata, constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock
from huggingface_hub.utils.sha import sha_fileobj


def cached(repository: str, file: str) -> Path | None:
    """The file in the hub's cache, without asking the network."""
    found = try_to_load_from_cache(repository, file)
    return Path(found) if isinstance(found, str) else None


def fetch(repository: str, file: str) -> Path:
    """The file in the hub's cache, downloaded where it is missing or is not what its digest says. ValueError with one
    sentence on failure."""
    found = cached(repository, file)
    if found is not None and _sha256(found) == found.resolve().name:  # blobs are called by their digest
        return found
    if constants.HF_HUB_OFFLINE:
        raise ValueError(f"{file} was not fetched because HF_HUB_OFFLINE is set: unset it and try again")
    url = hf_hub_url(repository, file)
    try:
        metadata = get_hf_file_metadata(url)
        return _store(repository, file, url, metadata)
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise ValueError(f"the model hub refused {file} ({status}): try again later") from error
    except (httpx2.TransportError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS):
            raise ValueError(f"{file} could not be stored: {error.strerror} ({constants.HF_HUB_CACHE})") from error
        sentence = f"the model hub cannot be reached, so {file} was not fetched: check the connection and try again"
        raise ValueError(sentence) from error


def _store(repository: str, file: str, url: str, metadata: HfFileMetadata) -> Path:
    """Download beside the blobs, resuming what is there; verify; then place it as the hub's client would."""
    digest, commit, size = metadata.etag or "", metadata.commit_hash or "", metadata.size
    if not re.fullmatch("[0-9a-f]{64}", digest) or not re.fullmatch("[0-9a-f]{40}", commit) or not size:
        raise ValueError(f"the model hub gave no sha256 for {file}: try again later")
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    blob = folder / "blobs" / digest
    blob.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(blob.with_name(f"{digest}.lock")):  # the page and the command line may both be at it
        if not blob.is_file() or blob.stat().st_size != size or _sha256(blob) != digest:
            _complete(blob, digest, size, file, url)
    pointer = folder / "snapshots" / commit / file
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.unlink(missing_ok=True)  # also a copy, where there are no links
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # a file system without links
        os.replace(blob, pointer)
    reference = folder / "refs" / "main"
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(commit)
    return pointer


def _complete(blob: Path, digest: str, size: int, file: str, url: str) -> None:
    """Fetch what is missing of one blob, check all of it and give it its name."""
    partial = blob.with_name(f"{digest}.partial")
    with partial.open("ab") as stream:
        have = stream.tell()
        if have > size:
            stream.truncate(0)
            have = 0
        free = shutil.disk_usage(blob.parent).free
        if size - have > free:
            raise ValueError(f"{file} needs {(size - have) / 1e9:.1f} GB, {blob.parent} has {free / 1e9:.1f} GB free")
        http_get(url, stream, resume_size=have, expected_size=size, displayed_filename=file)  # type: ignore[arg-type]
    if _sha256(partial) != digest:
        partial.unlink()
        raise ValueError(f"{file} arrived damaged (its sha256 differs) and was removed: download it again")
    os.replace(partial, blob)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return sha_fileobj(stream).hex()
