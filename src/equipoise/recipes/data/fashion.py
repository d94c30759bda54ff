"""Fashion-MNIST, 60 000 + 10 000 images of 28 x 28, from the Debian package `dataset-fashion-mnist` (MIT)."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from equipoise._errors import DataError
from equipoise.recipes.data.location import given_folder, missing
from equipoise.recipes.data.pictures import Pictures

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
INSTALL = "sudo apt-get install dataset-fashion-mnist"


def load_fashion(directory: str | None = None) -> Pictures:
    """The official training set; the official test set is held out. Files are the four `*-ubyte.gz` of the data set."""
    folder = given_folder("fashion", directory) or DEBIAN_FOLDER
    return Pictures(
        _read_idx(folder / "train-images-idx3-ubyte.gz").reshape(-1, 28, 28),
        _read_idx(folder / "train-labels-idx1-ubyte.gz"),
        _read_idx(folder / "t10k-images-idx3-ubyte.gz").reshape(-1, 28, 28),
        _read_idx(folder / "t10k-labels-idx1-ubyte.gz"),
    )


def _read_idx(path: Path) -> np.ndarray:
    """The values of an IDX file of unsigned bytes, flat."""
    if not path.is_file():
        raise DataError(missing("fashion", INSTALL))
    raw = gzip.decompress(path.read_bytes())
    if len(raw) < 4 or raw[2] != 8:
        raise DataError(f"{str(path)!r} is no IDX file of unsigned bytes. Reinstall it: {INSTALL}")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3])
