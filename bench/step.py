"""Time one optimizer step: ours against torch's fused, foreach and for-loop, interleaved in one process.

    python bench/step.py                    one process: correctness first, then a table
    python bench/step.py --processes 5      medians over fresh processes, with the range
    python bench/step.py --compile          first-step times, cold and warm, by list length

Correctness is a gate: a contender whose parameters differ from its reference after three steps is not timed. Absolute
times move by tens of percent between processes (where memory lands, what else runs), so the ratio to torch's
AdamW(fused=True) in the same process is what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from workload import parameters

import equipoise as ep

BASELINE = "torch AdamW fused"
ADAM = {"lr": 1e-4, "weight_decay": 0.1}
SGD = {"lr": 1e-4, "momentum": 0.9}
# name -> (make, streams of 4 bytes per parameter: reads and writes of p, g and state, reference to agree with)
CONTENDERS: dict[str, tuple[Callable[[list], torch.optim.Optimizer], int, str]] = {
    BASELINE: (lambda p: torch.optim.AdamW(p, fused=True, **ADAM), 7, "torch AdamW for-loop"),
    "torch AdamW for-loop": (lambda p: torch.optim.AdamW(p, foreach=False, **ADAM), 7, "torch AdamW for-loop"),
    "torch AdamW foreach": (lambda p: torch.optim.AdamW(p, foreach=True, **ADAM), 7, "torch AdamW for-loop"),
    "torch SGD fused": (lambda p: torch.optim.SGD(p, fused=True, **SGD), 5, "torch SGD for-loop"),
    "torch SGD for-loop": (lambda p: torch.optim.SGD(p, foreach=False, **SGD), 5, "torch SGD for-loop"),
    "equipoise AdamW": (lambda p: ep.optim.AdamW(p, **ADAM), 7, "torch AdamW for-loop"),
    "equipoise SGDW": (lambda p: ep.optim.SGDW(p, weight_decay=0.0, **SGD), 5, "torch SGD for-loop"),
    "equipoise Lion": (lambda p: ep.optim.Lion(p, **ADAM), 5, "reference Lion"),
    "equipoise AdamW cautious": (lambda p: ep.optim.AdamW(p, mask="cautious", **ADAM), 7, "reference cautious"),
    "equipoise AdamW, no compiler": (lambda p: ep.optim.AdamW(p, runner="blocked", **ADAM), 7, "torch AdamW for-loop"),
}
REFERENCES: dict[str, Callable[[list], torch.optim.Optimizer]] = {
    "torch AdamW for-loop": CONTENDERS["torch AdamW for-loop"][0],
    "torch SGD for-loop": CONTENDERS["torch SGD for-loop"][0],
    "reference Lion": lambda p: ep.optim.Lion(p, runner="reference", **ADAM),
    "reference cautious": lambda p: ep.optim.AdamW(p, mask="cautious", runner="reference", **ADAM),
}
AGREE = 1e-6  # largest difference of a parameter after three steps; a step moves it by 1e-4


def after_three_steps(make: Callable[[list], torch.optim.Optimizer]) -> list[torch.Tensor]:
    ps = parameters()
    optimizer = make(ps)
    for _ in range(3):
        optimizer.step()
    return [p.detach() for p in ps]


def gate(names: list[str]) -> None:
    """Stop unless every contender agrees with its reference."""
    wanted = {key: after_three_steps(make) for key, make in REFERENCES.items()}
    for name in names:
        make, _, reference = CONTENDERS[name]
        got = after_three_steps(make)
        worst = max((a - b).abs().max().item() for a, b in zip(got, wanted[reference], strict=True))
        if not worst <= AGREE:
            raise SystemExit(f"{name} differs from {reference} by {worst:.2e}: not timed")


def measure(rounds: int) -> dict[str, object]:
    """Median step time of every contender in milliseconds, in rotating order, and what ours allocate."""
    names = list(CONTENDERS)
    gate(names)
    made = {name: (ps := parameters(), CONTENDERS[name][0](ps)) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for _, optimizer in made.values():
        optimizer.step()
    for r in range(rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            start = time.perf_counter()
            made[name][1].step()
            times[name].append(1e3 * (time.perf_counter() - start))
    numel = sum(p.numel() for p in parameters())
    return {
        "parameters": numel,
        "ms": {name: statistics.median(values[1:]) for name, values in times.items()},
        "allocated": {name: allocated(*made[name]) for name in names if name.startswith("equipoise")},
    }


def allocated(ps: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """Bytes of state, of the largest same-shape group, and the most that one step allocates at a time."""
    state = sum(t.numel() * t.element_size() for s in optimizer.state.values() for t in s.values())
    groups: dict[torch.Size, int] = {}
    for p in ps:
        groups[p.shape] = groups.get(p.shape, 0) + p.numel() * p.element_size()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        optimizer.step()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return {"state": state, "largest_group": max(groups.values()), "step_peak": peak}


def table(runs: list[dict]) -> str:
    lines = [f"{'optimizer':32} {'ms':>7} {'ratio':>7} {'range':>13} {'B/param':>8} {'GB/s':>6}"]
    for name, (_, streams, _) in CONTENDERS.items():
        ms = statistics.median(run["ms"][name] for run in runs)
        ratios = sorted(run["ms"][name] / run["ms"][BASELINE] for run in runs)
        rate = 4 * streams * runs[0]["parameters"] / ms / 1e6
        span = f"{ratios[0]:.2f} - {ratios[-1]:.2f}"
        lines.append(f"{name:32} {ms:7.2f} {statistics.median(ratios):7.3f} {span:>13} {4 * streams:8d} {rate:6.1f}")
    for name, bytes_of in runs[0]["allocated"].items():
        state, group, most = (f"{bytes_of[key]:,}" for key in ("state", "largest_group", "step_peak"))
        lines.append(f"{name}: state {state} B; a step allocates {most} B at most (bound: {group} B)")
    return "\n".join(lines)


FIRST_STEP = """
import sys, time, torch
sys.path.insert(0, {folder!r})
from workload import parameters
import equipoise as ep
from equipoise.core.plan import RunnerChoice
ps = parameters()
optimizer = ep.optim.AdamW(ps, lr=1e-4, weight_decay=0.1)
optimizer._choice = RunnerChoice("fused", "bench", length={length})
start = time.perf_counter()
optimizer.step()
print(time.perf_counter() - start)
"""


def first_steps(lengths: list[int]) -> str:
    """Seconds of the first step in fresh processes: cold and with a warm compile cache."""
    lines = [f"{'list length':>11} {'cold s':>8} {'warm s':>8}"]
    for length in lengths:
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
            code = FIRST_STEP.format(folder=str(Path(__file__).parent), length=length)
            seconds = [
                float(
                    subprocess.run(
                        [sys.executable, "-c", code], env=environment, check=True, capture_output=True
                    ).stdout
                )
                for _ in range(3)
            ]
        lines.append(f"{length:11d} {seconds[0]:8.1f} {statistics.median(seconds[1:]):8.1f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true", help="first-step times instead of step times")
    parser.add_argument("--json", action="store_true", help="print one run as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.compile:
        print(first_steps([1, 8, 24]))
        return
    if arguments.json:
        print(json.dumps(measure(arguments.rounds)))
        return
    command = [sys.executable, __file__, "--json", f"--rounds={arguments.rounds}", f"--threads={arguments.threads}"]
    outputs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(arguments.processes)]
    print(f"torch {torch.__version__}, {arguments.threads} threads, {arguments.processes} process(es)")
    print(table([json.loads(output.stdout) for output in outputs]))


if __name__ == "__main__":
    main()
