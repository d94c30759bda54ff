"""Text to token numbers: the bytes themselves, or a byte-level BPE trained in place and cached."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equipoise._errors import ArgumentError, MissingExtraError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CACHE_VARIABLE = "EQUIPOISE_CACHE"


def bytes_to_tokens(text: bytes) -> Tensor:
    """One token per byte, uint8 `[len(text)]`, vocabulary 256."""
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


def bpe_to_tokens(text: bytes, tokenizer: Tokenizer) -> Tensor:
    """Token numbers of the text, int32 `[tokens]`; bytes that are not UTF-8 become the replacement character."""
    lines = text.decode("utf-8", errors="replace").splitlines(keepends=True)
    numbers = [number for coded in tokenizer.encode_batch(lines) for number in coded.ids]
    return torch.tensor(numbers, dtype=torch.int32)


@lru_cache(maxsize=4)
def trained_bpe(text: bytes, vocab: int) -> Tokenizer:
    """A byte-level BPE of `vocab` tokens (257 to 65536) trained on the text, read from the cache when it is there.

    The cache is `$EQUIPOISE_CACHE`, else `~/.cache/equipoise`; its key is the text's hash and the size.
    """
    if not 257 <= vocab <= 65536:
        raise ArgumentError("vocab", vocab, "between 257 and 65536", "A byte-level BPE starts from the 256 bytes.")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MissingExtraError("tokenizers", "data") from None
    path = _cache_folder() / f"bpe-{vocab}-{hashlib.sha256(text).hexdigest()[:16]}.json"
    if not path.is_file():
        _train(text, vocab, path)
    return Tokenizer.from_file(str(path))


def _train(text: bytes, vocab: int, path: Path) -> None:
    """Train and put into the cache in one move, so that two processes never read half a file."""
    from tokenizers.implementations.byte_level_bpe import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    lines = text.decode("utf-8", errors="replace").splitlines(keepends=True)
    tokenizer.train_from_iterator(iter(lines), vocab_size=vocab, show_progress=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    tokenizer.save(str(partial))
    partial.replace(path)


def _cache_folder() -> Path:
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser() if given else Path.home() / ".cache" / "equipoise"
