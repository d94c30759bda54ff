"""Text as two byte strings, training and held-out, split by whole documents so that nothing leaks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from equipoise._errors import DataError

HELD_OUT_OF = 20  # every twentieth document, by hash of its name, is held out


@dataclass(frozen=True)
class Documents:
    """Training and held-out text of one source."""

    train: bytes
    validation: bytes


def is_held_out(name: str) -> bool:
    """Whether the document of this name is held out: a fixed coin per name, whatever else is in the collection."""
    return hashlib.sha256(name.encode()).digest()[0] % HELD_OUT_OF == 0


def split_by_document(documents: Iterable[tuple[str, bytes]], *, source: str) -> Documents:
    """Join (name, text) pairs into the two sides, in the order given. DataError when a side stays empty."""
    sides: dict[bool, list[bytes]] = {False: [], True: []}
    for name, text in documents:
        sides[is_held_out(name)].append(text)
    if not sides[False] or not sides[True]:
        count = len(sides[False]) + len(sides[True])
        raise DataError(f"data source {source!r}: {count} documents are too few to hold some out. Add more.")
    return Documents(b"\n".join(sides[False]), b"\n".join(sides[True]))
