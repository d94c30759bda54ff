"""Time Muon for the matrices and AdamW for the rest, against torch's Muon and its fused AdamW on the same tensors.

    python bench/muon.py                       wall time, as many threads as torch takes
    python bench/muon.py --threads 1 --cpu     time on the processor: for a machine that does other work, too

Correctness first: on matrices of condition 1e4 the bfloat16 iteration must be no further from the exact one, and from
the polar factor, than torch's. Then the iteration alone, with its rate beside that of a plain bfloat16 product of the
same matrices, and the whole step. Rounds are interleaved in one process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.optim._muon import _zeropower_via_newtonschulz as torchs

sys.path.insert(0, str(Path(__file__).parent))
from workload import parameters

import equipoise as ep
from equipoise.core.linalg.polar import blocks_of, newton_schulz
from equipoise.core.linalg.polar_coefficients import coefficients_of

JORDAN = coefficients_of("jordan")
SHAPES = [(1152, 384), (384, 384), (1536, 384), (384, 1536)]
COUNT = 12
WORDS = {"lr": 0.02, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}


def of_condition(rows: int, columns: int, condition: float = 1e4) -> tuple[torch.Tensor, torch.Tensor]:
    """Two matrices, float64, their singular values spaced evenly in the logarithm, and their polar factors."""
    generator = torch.Generator().manual_seed(rows)
    short = min(rows, columns)
    u, v = (
        torch.linalg.qr(torch.randn(2, n, short, dtype=torch.float64, generator=generator))[0] for n in (rows, columns)
    )
    values = condition ** -torch.linspace(0, 1, short, dtype=torch.float64)
    return (u * values) @ v.mT, u @ v.mT


def far(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a.double() - b).norm() / b.norm()).item()


def gate() -> None:
    print(f"{'condition 1e4':14} {'from the exact iteration':>26} {'from the polar factor':>26}")
    for shape in SHAPES:
        x, factor = of_condition(*shape)
        exact = newton_schulz(x, JORDAN)
        ours = newton_schulz(x.bfloat16(), JORDAN)
        theirs = torch.stack([torchs(one.float(), JORDAN[0], ns_steps=5, eps=1e-7) for one in x])
        pairs = [(far(ours, wanted), far(theirs, wanted)) for wanted in (exact, factor)]
        print(f"{shape!s:14}" + "".join(f"   ours {a:.4f} torch {b:.4f}" for a, b in pairs))
        if any(a > 1.01 * b for a, b in pairs):
            raise SystemExit(f"the direction of {shape} is further off than torch's: not timed")


def operations(rows: int, columns: int) -> float:
    """Multiplications and additions for one matrix, in the blocks that are taken."""
    short, long = sorted((rows, columns))
    return short**3 * sum(4 * long / short + 8 * len(b) - 6 for b in blocks_of(JORDAN, long / short, torch.bfloat16))


def timed(contenders: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median milliseconds of each, interleaved, the first two rounds left out."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 2):
        for name, run in contenders.items():
            start = clock()
            run()
            times[name].append(1e3 * (clock() - start))
    return {name: statistics.median(values[2:]) for name, values in times.items()}


def iteration(rounds: int, clock: Callable[[], float]) -> None:
    print(f"\n{'12 matrices':14} {'torch ms':>9} {'ours ms':>9} {'ratio':>6} {'of the rate of a product':>26}")
    for rows, columns in SHAPES:
        g = torch.randn(COUNT, rows, columns, generator=torch.Generator().manual_seed(0))
        half, square = g.bfloat16(), torch.randn(COUNT, columns, columns).bfloat16()
        out = torch.empty_like(half)
        runs: dict[str, Callable[[], object]] = {
            "torch": lambda g=g: [torchs(one, JORDAN[0], ns_steps=5, eps=1e-7) for one in g],
            "ours": lambda half=half: newton_schulz(half, JORDAN),
            "product": lambda half=half, square=square, out=out: [torch.bmm(half, square, out=out) for _ in range(5)],
        }
        ms = timed(runs, rounds, clock)
        rate = operations(rows, columns) / ms["ours"] / (5 * 2 * rows * columns * columns / ms["product"])
        shape = f"{rows} x {columns}"
        print(f"{shape:14} {ms['torch']:9.1f} {ms['ours']:9.1f} {ms['ours'] / ms['torch']:6.2f} {rate:26.2f}")


def split() -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Matrices of the blocks, and everything else."""
    every = parameters()
    return [p for p in every if tuple(p.shape) in SHAPES], [p for p in every if tuple(p.shape) not in SHAPES]


def whole_step(rounds: int, clock: Callable[[], float]) -> None:
    matrices, rest = split()
    muon = torch.optim.Muon(matrices, **WORDS)
    adamw = torch.optim.AdamW(rest, lr=0.02, weight_decay=0.1, fused=True)
    own, others = split()
    ours = ep.optim.Muon([{"params": own}, {"params": others, "orthogonal": False}], **WORDS)
    ours.step()  # compiles
    ms = timed({"torch": lambda: (muon.step(), adamw.step()), "ours": ours.step}, rounds, clock)
    print(f"\nwhole step: torch's Muon and fused AdamW {ms['torch']:.1f} ms, ours {ms['ours']:.1f} ms", end="")
    print(f", ratio {ms['ours'] / ms['torch']:.2f}")


def settle_the_allocator() -> None:
    """A young process gives memory back to the system after every call and takes page faults for it at the next.

    The free of one large tensor raises glibc's threshold for that, as the activations of any training do.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--cpu", action="store_true")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    clock = time.process_time if asked.cpu else time.perf_counter
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {'processor' if asked.cpu else 'wall'} time")
    settle_the_allocator()
    gate()
    iteration(asked.rounds, clock)
    whole_step(asked.rounds, clock)


if __name__ == "__main__":
    main()
