"""Handwritten digits, 1797 images of 8 x 8, bundled with scikit-learn (BSD-3)."""

from __future__ import annotations

import numpy as np

from equipoise._errors import DataError
from equipoise.recipes.data.location import given_file, missing
from equipoise.recipes.data.pictures import Pictures, read_npz, split_pictures

INSTALL = "pip install scikit-learn"


def load_digits(directory: str | None = None) -> Pictures:
    """All digits, a fifth held out. A given folder must hold `digits.npz` with `images` and `labels`."""
    path = given_file("digits", directory, "digits.npz")
    if path is not None:
        return read_npz(path)
    try:
        from sklearn.datasets import load_digits as load_bundled
    except ImportError:
        raise DataError(missing("digits", INSTALL)) from None
    images, labels = load_bundled(return_X_y=True)
    return split_pictures(np.asarray(images).reshape(-1, 8, 8), np.asarray(labels))
