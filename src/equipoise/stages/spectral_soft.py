"""Spectral soft: bend large singular values of the direction, or of the gradient, down to a threshold.

Source     arXiv:2603.14315 (SPECTRA); read together with the authors' code.
Differs    The authors iterate in bfloat16 by default and share one bound over a batch; here every matrix has its own
           bound, steps are scaled to the interval that is left, and the dtype is the one of the step (float32 at
           least), so 10 iterations reach what about 20 plain ones do.
Symbols    X: a matrix [rows, columns] of the direction u or of the gradient g; s: its singular values; c_t: threshold.
Rule       s <- s / sqrt(1 + s^2 / c_t^2)                                        (1)
           c_t = c;  while warming up (t <= clip_warmup): c_t = c eta_max / eta_t    (2)
           X <- X sqrt(max(1, rows / columns))                                   (3) tall only
Order      On the gradient it stands first; on the direction, last before decay.
Invariant  |X|_sigma < c_t after (1); c = inf changes nothing; with (2), eta_t |X|_sigma <= c eta_max while warming up.
Cost       No state. A Gram matrix and 3 small products per iteration (see `core/linalg/spectral_clip.py`).
Avoid      A threshold below 1/100 of the largest singular value with the default number of iterations.
"""

from __future__ import annotations

from types import SimpleNamespace

from equipoise._card import method
from equipoise.core.checks import check_at_least, check_choice
from equipoise.core.linalg.spectral_clip import soft_clip
from equipoise.core.stage import Partial, Registers, Slot, Stage, Values, whole
from equipoise.stages._clip_law import clip_coefs, clip_keys

OF = ("direction", "gradient")


@method(kind="stage", paper="arXiv:2603.14315", scope="matrix", see_also=("norm_soft",))
def spectral_soft(*, of: str = "direction", steps: int = 10, warm: bool = False, tall: bool = False) -> Stage:
    """Equations (1) to (3). Group keys: clip (of the gradient: gradient_clip), and clip_warmup when `warm`.

    `steps`: iterations. `warm`: with (2). `tall`: with (3).
    """
    check_choice("of", of, OF)
    check_at_least("steps", steps, 1)
    inward = of == "gradient"
    key = "gradient_clip" if inward else "clip"

    def partials(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> dict[str, Partial]:
        return {"x": whole(r.g if inward else r.u)}

    def solve(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        rows, columns = x.x.shape[-2:]
        clipped = soft_clip(x.x, c.inverse_square, steps)  # (1)
        return {"x": clipped.mul_((rows / columns) ** 0.5) if tall and rows > columns > 0 else clipped}, {}  # (3)

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace, solved: SimpleNamespace) -> tuple[Values, Values]:
        return {"g": solved.x, "u": solved.x} if inward else {"u": solved.x}, {}

    return Stage(
        "spectral_soft_gradient" if inward else "spectral_soft", Slot.GRADIENT if inward else Slot.SCALE, update,
        reads=("g",) if inward else ("u",), writes=("g", "u") if inward else ("u",), partials=partials,
        reduction="matrix", solve=solve, hyper=clip_keys(key, warm=warm), coefs=clip_coefs(key, warm=warm),
        needs_peak_lr=warm, degree=None, options=(("of", of), ("steps", steps), ("warm", warm), ("tall", tall)),
    )  # fmt: skip
