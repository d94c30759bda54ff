"""A recipe's text: which source, how long a window, bytes or BPE."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from equipoise._errors import ArgumentError, near
from equipoise.recipes.data.batches import TextBatches
from equipoise.recipes.data.bible import load_bible
from equipoise.recipes.data.documents import Documents
from equipoise.recipes.data.location import VARIABLE
from equipoise.recipes.data.python_sources import load_python_sources
from equipoise.recipes.data.tokens import bpe_to_tokens, bytes_to_tokens, trained_bpe

TEXT_SOURCES: dict[str, Callable[[str | None], Documents]] = {"python": load_python_sources, "bible": load_bible}


@dataclass(frozen=True)
class TextData:
    """Text to predict the next token of.

    Attributes:
        source: `python` (the standard library's sources) or `bible` (King James text).
        context: tokens per window, >= 1.
        tokenizer: `bytes` (vocabulary 256) or `bpe` (trained in place, `vocab` tokens).
        vocab: size of the BPE vocabulary; unused for bytes.
        windows: held-out windows, spread evenly over the held-out text.
        directory: where to look first; then `$EQUIPOISE_DATA/<source>`, then the package.
    """

    source: str = "python"
    context: int = 128
    tokenizer: Literal["bytes", "bpe"] = "bytes"
    vocab: int = 4096
    windows: int = 128
    directory: str | None = None

    def load(self) -> TextBatches:
        """Read and tokenize. DataError names the install line of a missing source."""
        return _load(self, os.environ.get(VARIABLE))


@lru_cache(maxsize=4)
def _load(data: TextData, root: str | None) -> TextBatches:
    """Read once per process; `root` is in the key because the source looks there."""
    if data.source not in TEXT_SOURCES:
        raise ArgumentError("data.source", data.source, "a text source", near(data.source, list(TEXT_SOURCES)))
    text = TEXT_SOURCES[data.source](data.directory)
    if data.tokenizer == "bytes":
        train, validation, vocab = bytes_to_tokens(text.train), bytes_to_tokens(text.validation), 256
    elif data.tokenizer == "bpe":
        bpe = trained_bpe(text.train, data.vocab)
        train, validation, vocab = bpe_to_tokens(text.train, bpe), bpe_to_tokens(text.validation, bpe), data.vocab
    else:
        raise ArgumentError("data.tokenizer", data.tokenizer, "'bytes' or 'bpe'")
    return TextBatches(train, validation, vocab, data.context, data.windows)
