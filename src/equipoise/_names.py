"""Symbols and shape letters, in one place. Code spells the words; docs and docstrings use the letters."""

SYMBOLS: dict[str, str] = {
    "p": "parameter (weight), before or after the step as the stage says",
    "g0": "gradient as delivered, read-only",
    "g": "gradient after gradient transforms",
    "m": "momentum signal",
    "den": "denominator or preconditioner handle",
    "u": "direction; the step is p <- p - eta u",
    "eta": "learning rate of this tensor at this step",
    "lam": "decay coefficient lambda of this tensor at this step",
    "t": "step number, 1, 2, ...",
    "eta_max": "peak learning rate",
    "s": "schedule multiplier eta / eta_max",
}

SHAPES: dict[str, str] = {
    "O": "output units (axis 0 of a weight)",
    "I": "input units",
    "K": "kernel extents",
    "B": "batch",
    "T": "tokens (positions)",
    "D": "width of the residual stream",
    "H": "heads",
    "V": "vocabulary",
}
