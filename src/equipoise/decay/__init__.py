"""Everything that shrinks weights: one grid of place, target, metric, law and mask."""

from equipoise.decay.shrink import shrink

__all__ = ["shrink"]
