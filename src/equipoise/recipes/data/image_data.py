"""A recipe's images: which source, and how many training images of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from equipoise._errors import ArgumentError, near
from equipoise.recipes.data.batches import ImageBatches
from equipoise.recipes.data.digits import load_digits
from equipoise.recipes.data.fashion import load_fashion
from equipoise.recipes.data.location import VARIABLE
from equipoise.recipes.data.mnist5k import load_mnist5k
from equipoise.recipes.data.pictures import Pictures, to_batches

IMAGE_SOURCES: dict[str, Callable[[str | None], Pictures]] = {
    "digits": load_digits,
    "mnist5k": load_mnist5k,
    "fashion": load_fashion,
}


@dataclass(frozen=True)
class ImageData:
    """Grey images to classify.

    Attributes:
        source: `digits` (8 x 8), `mnist5k` or `fashion` (28 x 28).
        directory: where to look first; then `$EQUIPOISE_DATA/<source>`, then the package.
    """

    source: str = "digits"
    directory: str | None = None

    def load(self) -> ImageBatches:
        """Read and normalize. DataError names the install line of a missing source."""
        return _load(self, os.environ.get(VARIABLE))


@lru_cache(maxsize=2)
def _load(data: ImageData, root: str | None) -> ImageBatches:
    """Read once per process; `root` is in the key because the source looks there."""
    if data.source not in IMAGE_SOURCES:
        raise ArgumentError("data.source", data.source, "an image source", near(data.source, list(IMAGE_SOURCES)))
    return to_batches(IMAGE_SOURCES[data.source](data.directory))
