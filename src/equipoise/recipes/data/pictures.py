"""Labelled grey images as arrays, and the step from arrays to normalized tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equipoise.recipes.data.batches import ImageBatches


@dataclass(frozen=True)
class Pictures:
    """Images `[N, H, W]` of any number type and labels `[N]`, for training and held out."""

    train: np.ndarray
    train_labels: np.ndarray
    held_out: np.ndarray
    held_out_labels: np.ndarray


def split_pictures(images: np.ndarray, labels: np.ndarray) -> Pictures:
    """Every fifth image of each class is held out, after one fixed shuffle."""
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order], labels[order]
    rank = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = labels == label
        rank[members] = np.arange(members.sum())
    out = rank % 5 == 0
    return Pictures(images[~out], labels[~out], images[out], labels[out])


def read_npz(path: Path) -> Pictures:
    """The user's own file: arrays `images [N, H, W]` and `labels [N]`."""
    with np.load(path, allow_pickle=False) as arrays:
        return split_pictures(arrays["images"], arrays["labels"])


def to_batches(pictures: Pictures) -> ImageBatches:
    """Float images `[N, 1, H, W]` with the training images' mean 0 and variance 1, as one number each."""
    train = torch.from_numpy(pictures.train.astype(np.float32))
    mean, std = train.mean(), train.std()

    def normalized(images: np.ndarray) -> Tensor:
        return ((torch.from_numpy(images.astype(np.float32)) - mean) / std)[:, None]

    labels = torch.from_numpy(pictures.train_labels.astype(np.int64))
    held_out_labels = torch.from_numpy(pictures.held_out_labels.astype(np.int64))
    classes = int(labels.max()) + 1
    return ImageBatches(normalized(pictures.train), labels, normalized(pictures.held_out), held_out_labels, classes)
