"""Ready optimizers: one chain each (lower case), and its drop-in torch.optim.Optimizer (CamelCase)."""

from equipoise.optim.adam import Adam, adam
from equipoise.optim.adam_l2 import AdamL2, adam_l2
from equipoise.optim.adamw import AdamW, adamw
from equipoise.optim.lion import Lion, lion
from equipoise.optim.sgd import SGD, sgd
from equipoise.optim.sgdw import SGDW, sgdw

__all__ = ["SGD", "SGDW", "Adam", "AdamL2", "AdamW", "Lion", "adam", "adam_l2", "adamw", "lion", "sgd", "sgdw"]
