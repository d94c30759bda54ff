"""Newton-Schulz iteration on stacks of matrices: the polar factor U V^T of X = U S V^T, without an SVD.

Source     Higham 2008, "Functions of Matrices", chapter 8; quintics and use in optimizers: Jordan et al. 2024 (Muon).
           The iteration on the Gram matrix with restarts is known as Gram Newton-Schulz; the split used here is ours.
Differs    Reference code divides X by its norm first. Here the norm is the root of the Gram matrix's trace, which is
           at hand, and the division rides on a factor of the shorter side: no pass over X. Where P is formed, a is
           rounded to X's dtype, b and c are scaled alike, and the products that P enters make up for it.
Symbols    X: [matrices, rows, columns], m the shorter side, n the longer; R, Z, P, Q: [matrices, m, m], polynomials in
           X X^T (in X^T X when there are more rows than columns); (a, b, c): one triple per iteration.
Rule       R = X X^T / max(|X|, eps)^2                                     (1) at the first iteration, else X X^T
           P = a I + Z, Z = b R + c R^2                                     (2)
           X <- P X                                                         (3)
           or, for several iterations at once: Q <- P Q, R <- P R P         (4)
           and X <- Q X after the last of them (a restart)                  (5)
Invariant  orth(O X O') = O orth(X) O' for orthogonal O, O'; scaling X by K > 0 changes nothing (|X| > eps).
Cost       Iterations one by one: 4 m^2 n + 2 m^3 operations each, additions counted too. k of them on R: 4 m^2 n +
           8 m^3 k - 6 m^3.
Avoid      Long blocks in bfloat16: rounding of R is amplified by the square of the block's slope at 0. Restarts keep
           the error near or below that of the plain iteration, and what comes out bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from equipoise.core.linalg.polar_coefficients import Triple

EPS = 1e-7
_MOST_IN_BLOCK = 3
_MOST_SLOPE = 1.5  # over the root of the dtype's eps

Block = tuple[Triple, ...]


def newton_schulz(
    x: Tensor, coefficients: Sequence[Triple], *, eps: float = EPS, scale: float = 1.0, overwrite: bool = False
) -> Tensor:
    """Equations (1) to (5), in x's dtype.

    Args:
        x: [matrices, rows, columns]. In 16 bits use bfloat16: float16 has too few exponents.
        coefficients: one triple per iteration (see `polar_coefficients`).
        eps: norm below which a matrix counts as that small instead of being scaled up.
        scale: factor on the result.
        overwrite: whether x may be changed, which spares memory of its size.

    Returns:
        A tensor shaped like x, new or, with `overwrite`, x itself.
    """
    if x.numel() == 0:
        return x.clone()
    short, long = sorted(x.shape[1:])
    blocks = blocks_of(tuple(coefficients), long / short, x.dtype)
    one_by_one = max(map(len, blocks)) == 1
    large = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in blocks[:2]]
    if overwrite and x.is_contiguous():
        large[1:] = [x]
    own = x.new_empty(len(x), short, short)
    for i, block in enumerate(blocks):
        out = large[i % len(large)]
        room = _room(out, len(block), short)
        gram = _gram(x, room.pop() if len(block) == 1 else own)
        root = _divide_by_norm(gram, eps) if i == 0 else None
        factor = scale if i == len(blocks) - 1 else 1.0
        if root is None and one_by_one:
            x = _one(x, gram, block[0], own, factor, out)
        else:
            rest = _product(block, gram, own, room, factor, root)
            x = _times(own, x, out, rest)
    return x


def _room(out: Tensor, count: int, short: int) -> list[Tensor]:
    """Stacks of small matrices, in the place of the product still to come as far as they fit there."""
    size = len(out) * short * short
    inside = [out.view(-1)[i * size :][:size].view(-1, short, short) for i in range(min(count, out.numel() // size))]
    return inside + [out.new_empty(len(out), short, short) for _ in range(count - len(inside))]


def blocks_of(coefficients: Block, ratio: float, dtype: torch.dtype) -> list[Block]:
    """Iterations between restarts: one by one, or several on the Gram matrix where that takes fewer operations.

    Args:
        coefficients: one triple per iteration.
        ratio: longer side over shorter side.
        dtype: its rounding bounds how much a block may amplify.
    """
    single = [(triple,) for triple in coefficients]
    grouped = _grouped(coefficients, _MOST_SLOPE / torch.finfo(dtype).eps ** 0.5)
    return min(single, grouped, key=lambda blocks: _operations(blocks, ratio))


def _grouped(coefficients: Block, most_slope: float) -> list[Block]:
    """At most three in a block, and as many as keep the product of their a's below `most_slope`.

    Rounding moves an eigenvalue of R by about eps at most, so a singular value near its root may be taken for 0 and
    multiplied by the whole slope. If that ends far above 1, the next block diverges.
    """
    blocks: list[Block] = []
    for triple in coefficients:
        longer = (*blocks[-1], triple) if blocks else (triple,)
        if blocks and len(longer) <= _MOST_IN_BLOCK and prod(a for a, _, _ in longer) <= most_slope:
            blocks[-1] = longer
        else:
            blocks.append((triple,))
    return blocks


def _operations(blocks: Sequence[Block], ratio: float) -> float:
    """In units of m^3."""
    return sum(4 * ratio + 8 * len(block) - 6 for block in blocks)


def _gram(x: Tensor, out: Tensor) -> Tensor:
    left, right = (x, x.mT) if x.shape[1] <= x.shape[2] else (x.mT, x)
    return torch.bmm(left, right, out=out)


def _times(q: Tensor, x: Tensor, out: Tensor, factor: float) -> Tensor:
    left, right = (q, x) if x.shape[1] <= x.shape[2] else (x, q)
    if factor == 1.0:  # a twentieth faster, so a longer block has its factor in Q
        return torch.bmm(left, right, out=out)
    return torch.baddbmm(x, left, right, beta=0.0, alpha=factor, out=out)


def _divide_by_norm(gram: Tensor, eps: float) -> Tensor:
    """(1), in place; returns 1 / max(|X|, eps), [matrices]."""
    trace = _diagonal(gram).sum(-1, dtype=torch.promote_types(gram.dtype, torch.float32))
    inverse = trace.clamp_min(eps * eps).reciprocal()
    _scale(gram, inverse)
    return inverse.sqrt()


def _scale(stack: Tensor, factors: Tensor) -> None:
    """Matrix by matrix: all at once, torch would take the product in the factors' dtype, with copies of that size."""
    torch._foreach_mul_(stack.unbind(), factors.unbind())  # pyright: ignore[reportPrivateImportUsage]


def _one(x: Tensor, r: Tensor, triple: Triple, z: Tensor, factor: float, out: Tensor) -> Tensor:
    """(3) as a X + Z X: the identity's share of X is not rounded twice. Between longer blocks that gains nothing."""
    a, b, c = triple
    _quadratic(r, b, c, z)
    left, right = (z, x) if x.shape[1] <= x.shape[2] else (x, z)
    return torch.baddbmm(x, left, right, beta=a * factor, alpha=factor, out=out)


def _product(block: Block, r: Tensor, out: Tensor, room: list[Tensor], factor: float, root: Tensor | None) -> float:
    """(2) and (4): Q of one block times `root`, in `out`; returns what is left of `factor`. R is used up.

    Most of P is a I: in 16 bits its diagonal would be off by the rounding of a, so P holds a rounded a, and the number
    makes up for it.

    Args:
        out: R's own place where the block is longer than one iteration.
        room: as many stacks as the block has iterations, none of a single one.
    """
    q = None
    for j, (a, b, c) in enumerate(block):
        rounded = _rounded(a, r.dtype)
        f = rounded / a if a else 1.0
        factor /= f
        p = room.pop() if room else out
        _diagonal(_quadratic(r, b * f, c * f, p)).add_(rounded)
        t = out
        if j < len(block) - 1:
            t = torch.bmm(p, r, out=room.pop())
            torch.baddbmm(r, t, p, beta=0.0, alpha=f**-2, out=r)
        if q is None:
            q, room = p, [*room, t]
        else:
            room += [p, q]
            q, factor = torch.baddbmm(t, p, q, beta=0.0, alpha=factor, out=t), 1.0
    if root is not None:
        _scale(out, root)
    return factor


def _rounded(a: float, dtype: torch.dtype) -> float:
    return torch.tensor(a, dtype=dtype).item()


def _quadratic(r: Tensor, b: float, c: float, out: Tensor) -> Tensor:
    """Z of (2)."""
    return torch.mul(r, b, out=out) if c == 0 else torch.baddbmm(r, r, r, beta=b, alpha=c, out=out)


def _diagonal(a: Tensor) -> Tensor:
    return a.diagonal(dim1=-2, dim2=-1)
