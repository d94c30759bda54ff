"""What a step needs to know of each parameter, and which runner and which kind of kernel it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from equipoise.core.blocks import separable
from equipoise.core.chain import Chain
from equipoise.core.matrices import view_shape
from equipoise.core.numerics import is_dense, real_view
from equipoise.core.run_fused import LEAST_EXTENT, LENGTH, MOST_NUMEL
from equipoise.core.spread import Piece, local
from equipoise.core.trace import Known, Layout, asked_at

SMALL = 1 << 14  # elements; below it the threads of a reduction cost more than they save
State = Mapping[str, Tensor]


@dataclass(eq=False)
class Entry:
    """One parameter: its name, the index of its group, its role word, and the chain that steps it.

    `piece` tells what this process holds of a parameter that is spread over several.
    """

    name: str
    parameter: Tensor
    group: int
    role: str
    chain: Chain
    view: str = "rows"
    piece: Piece | None = None

    @property
    def held(self) -> Tensor:
        """What this process holds of the parameter, without its history."""
        return local(self.parameter.detach())

    @property
    def apart(self) -> tuple[str, ...]:
        """Levels of this chain's reductions that other processes have a part in."""
        return tuple(sorted(set(self.piece.apart) & levels(self.chain))) if self.piece is not None else ()

    @property
    def spread(self) -> bool:
        """Whether its stages must be told what they have a part of."""
        needs = bool(levels(self.chain)) or any(stage.indexed for stage in self.chain.stages)
        return self.piece is not None and bool(self.piece.cut) and needs


@dataclass(frozen=True)
class RunnerChoice:
    """The runner of an optimizer and why, with the settings that kernels are built with."""

    name: str
    why: str
    length: int = LENGTH
    backend: str = "inductor"


def runner_of(entry: Entry, choice: RunnerChoice) -> str:
    """The runner of one tensor: the chosen one, or "reference" where that one cannot do it."""
    return "reference" if engine_of(entry, choice) == "reference" else choice.name


def engine_of(entry: Entry, choice: RunnerChoice) -> str:
    """Who steps one tensor: "blocked" slice by slice, "fused" phase by phase, compiled or, where "blocked" was chosen,
    as it is traced; "reference" where neither can."""
    if choice.name == "reference":
        return "reference"
    p, engine = entry.held, "blocked" if choice.name == "blocked" and _sliceable(entry) else "fused"
    able = choice.name == "fused" or engine == "blocked" or not p.is_complex()
    fits = LEAST_EXTENT <= real_view(p).numel() <= MOST_NUMEL and is_dense(p)
    if fits and entry.chain.solves:
        fits = p.is_contiguous()
    if fits and rank_of(entry, engine) == 2:
        fits = p.is_contiguous() and p.shape[0] >= LEAST_EXTENT and p.numel() >= LEAST_EXTENT * p.shape[0]
    if entry.spread and entry.piece is not None:
        fits = fits and entry.piece.first is not None and "row" not in entry.apart
    return engine if able and fits else "reference"


def _sliceable(entry: Entry) -> bool:
    """Whether a tensor can be stepped slice by slice: nothing that other processes have a part in, no matrices, no
    thresholds over all values, and no places of elements beside sums."""
    if not levels(entry.chain):
        return rank_of(entry, "blocked") == 1
    indexed = any(stage.indexed for stage in entry.chain.stages)
    plain = not entry.spread and not entry.parameter.is_complex() and not indexed
    return plain and "matrix" not in levels(entry.chain) and not _ranks(entry.chain, rank_of(entry, "blocked"))


@cache
def _ranks(chain: Chain, rank: int) -> bool:
    """Whether a chain without matrices asks for a threshold over all values."""
    count = len(chain.kernel_keys())
    layout = Layout(chain, rank, torch.float32, torch.float32, (torch.float32,) * count, torch.device("cpu"))
    known: tuple[Known, ...] = ()
    while (asked := asked_at(layout, known)).index >= 0 and not asked.tensors:
        known = (*known, Known("global", tuple(name for name, _ in asked.scalars)))
    return bool(asked.tensors)


def asked_elsewhere(entry: Entry) -> bool:
    """Whether a parameter of which nothing may be here must be stepped: others wait for an answer, or numbers go on."""
    if entry.piece is None or not entry.piece.cut or entry.parameter.numel() == 0:
        return False
    return entry.chain.reduces or any(spec.shape == "scalar" for _, _, spec in entry.chain.state_keys())


def levels(chain: Chain) -> set[str]:
    """The levels at which a chain reduces."""
    return {stage.reduction for stage in chain.stages} - {"none"}


def rank_of(entry: Entry, runner: str = "fused") -> int:
    """2 where rows must stay apart, or where compiled sums over a tensor are taken row by row; else 1."""
    by_row = "row" in levels(entry.chain) or any(spec.shape == "row" for _, _, spec in entry.chain.state_keys())
    summed = bool(levels(entry.chain) & {"tensor", "global"}) and runner == "fused" and entry.held.is_contiguous()
    return 2 if entry.parameter.ndim > 1 and (by_row or summed) else 1


def matrix_shape(entry: Entry) -> tuple[int, int] | None:
    """Rows and columns of the matrices of a tensor whose chain solves: one stack holds one shape."""
    alone = entry.chain.solves and "matrix" not in entry.apart
    return view_shape(entry.parameter.shape, entry.view)[1:] if alone else None


def rank_to_measure(entry: Entry, runner: str, rank: int) -> int:
    """Compiled sums are taken row by row."""
    p = entry.held
    rows = runner == "fused" and p.ndim > 1 and p.is_contiguous() and not p.is_complex()
    return 2 if rows and p.shape[0] >= LEAST_EXTENT and p.numel() >= LEAST_EXTENT * p.shape[0] else rank


def layout_of(entry: Entry, state: State, runner: str) -> Layout:
    """What a kernel for this parameter is specialised on."""
    p = entry.held
    dtypes = tuple(real_view(state[key]).dtype for _, key, _ in entry.chain.kernel_keys())
    grad = entry.parameter.grad
    g_dtype = real_view(local(grad.detach())).dtype if grad is not None else real_view(p).dtype
    small = runner == "fused" and entry.chain.reduces and p.numel() <= SMALL and not separable(entry.chain)
    spread = entry.spread and runner == "fused"
    return Layout(
        entry.chain,
        rank_of(entry, runner),
        real_view(p).dtype,
        g_dtype,
        dtypes,
        p.device,
        small,
        apart=entry.apart,
        spread=spread,
    )
