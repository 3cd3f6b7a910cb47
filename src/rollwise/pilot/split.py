"""Which questions are tuned on and which are compared on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def split_ids(ids: Sequence[str], tuned: int, seed: int = 0) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ids to tune on, `tuned` of them, and the ids to compare on; each keeps its order.

    The hash of (seed, id) puts the ids in an order, and the first ones are tuned on. So the split depends neither on
    the order of the file nor on any result.
    """
    chosen = set(hashed_order(ids, seed)[:tuned])
    return tuple(one for one in ids if one in chosen), tuple(one for one in ids if one not in chosen)


def hashed_order(ids: Sequence[str], seed: int = 0) -> list[str]:
    """The ids in the order of the hashes of (seed, id)."""
    return sorted(ids, key=lambda one: _place(one, seed))


def _place(identity: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\x1f{identity}".encode(), digest_size=16).digest()
