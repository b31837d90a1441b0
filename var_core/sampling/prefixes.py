"""Keys and values of scales that are known entirely, never computed twice: re-rolls and branches start from them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..model.transformer import KVCache

REMEMBERED = 128 * 2**20  # bytes; seven scales of VAR-d16 with guidance take 20 MB in bfloat16


class Prefixes:
    """Remembers its last answers by everything that goes into them. They are always computed in the same way, for one
    candidate and in one pass, so that a remembered answer and a new one are the same numbers."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self.limit = limit
        self._kept: OrderedDict[bytes, tuple[Tensor, Tensor]] = OrderedDict()

    def forget(self) -> None:
        """To be called when the transformer computes differently from now on."""
        self._kept.clear()

    @property
    def held(self) -> int:
        """Bytes remembered."""
        return sum(part.nbytes for pair in self._kept.values() for part in pair)

    def __call__(self, tokens: Sequence[Tensor], rows: Tensor, compute: Callable[[], KVCache]) -> tuple[Tensor, Tensor]:
        """Keys and values (depth, rows, heads, l, head) of the scales that follow from `tokens`, (1, l) each, for the
        labels `rows`; `compute` makes them where they are not remembered. Not to be written to."""
        digest = hashlib.blake2b(digest_size=20)
        for part in (rows, *tokens):
            digest.update(repr(tuple(part.shape)).encode() + part.cpu().numpy().tobytes())
        key = digest.digest()
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        cache = compute()
        made = tuple(part[:, :, :, : cache.length].clone() for part in (cache.keys, cache.values))
        self._kept[key] = found = (made[0], made[1])
        while len(self._kept) > 1 and self.held > self.limit:
            self._kept.popitem(last=False)
        return found


def fill(cache: KVCache, prefix: tuple[Tensor, Tensor], candidates: int) -> None:
    """Start a cache with what `Prefixes` gave for one candidate: every guidance half is repeated for all."""
    length = prefix[0].shape[3]
    for target, part in ((cache.keys, prefix[0]), (cache.values, prefix[1])):
        target[:, :, :, :length] = torch.repeat_interleave(part, candidates, dim=1)
    cache.length = length
