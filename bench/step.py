"""Time one optimizer step: ours against torch's fused, foreach and for-loop, in turn with the baseline.

    python bench/step.py                    one process: correctness first, then a table
    python bench/step.py --processes 5      medians over fresh processes, with the range
    python bench/step.py --compile LAMB     first-step times, cold and warm
    python bench/step.py --only "equipoise AdamP"

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
Make = Callable[[list], torch.optim.Optimizer]
ADAM = {"lr": 1e-4, "weight_decay": 0.1}
SGD = {"lr": 1e-4, "momentum": 0.9}
# Ours alone: name -> class, streams of 4 bytes per parameter, words. Each agrees with its own reference runner.
OURS: dict[str, tuple[type[torch.optim.Optimizer], int, dict[str, object]]] = {
    "Lion": (ep.optim.Lion, 5, {"weight_decay": 0.1}),
    "AdamW cautious": (ep.optim.AdamW, 7, {"weight_decay": 0.1, "mask": "cautious"}),
    "AdamC": (ep.optim.AdamC, 7, {"weight_decay": 0.1}),
    "Grams": (ep.optim.Grams, 7, {"weight_decay": 0.1}),
    "CautiousAdamW": (ep.optim.CautiousAdamW, 7, {"weight_decay": 0.1}),
    "AdamS": (ep.optim.AdamS, 7, {}),
    "AdamW norm loss": (ep.optim.AdamW, 7, {"target": "unit_row"}),
    "AdamP": (ep.optim.AdamP, 7, {"weight_decay": 0.1}),
    "SGDP": (ep.optim.SGDP, 5, {"momentum": 0.9, "weight_decay": 0.1}),
    "LAMB": (ep.optim.LAMB, 7, {}),
    "LARS": (ep.optim.LARS, 5, {"momentum": 0.9, "weight_decay": 0.1}),
    "NovoGrad": (ep.optim.NovoGrad, 5, {}),
    "AGCSGD": (ep.optim.AGCSGD, 5, {}),
    "AdamH": (ep.optim.AdamH, 7, {}),
    "FAdam": (ep.optim.FAdam, 7, {}),
    "StableSPAM": (ep.optim.StableSPAM, 7, {}),
    "Ranger21": (ep.optim.Ranger21, 13, {}),
}


SLICED = ("LAMB", "AdamP")  # also timed as they run without a compiler


def _make(kind: type[torch.optim.Optimizer], words: dict[str, object], **more: object) -> Make:
    return lambda p: kind(p, lr=1e-4, **words, **more)  # type: ignore[call-arg]


# name -> (make, streams of 4 bytes per parameter: reads and writes of p, g and state, reference to agree with)
CONTENDERS: dict[str, tuple[Make, int, str]] = {
    BASELINE: (lambda p: torch.optim.AdamW(p, fused=True, **ADAM), 7, "torch AdamW for-loop"),
    "torch AdamW for-loop": (lambda p: torch.optim.AdamW(p, foreach=False, **ADAM), 7, "torch AdamW for-loop"),
    "torch AdamW foreach": (lambda p: torch.optim.AdamW(p, foreach=True, **ADAM), 7, "torch AdamW for-loop"),
    "torch SGD fused": (lambda p: torch.optim.SGD(p, fused=True, **SGD), 5, "torch SGD for-loop"),
    "torch SGD for-loop": (lambda p: torch.optim.SGD(p, foreach=False, **SGD), 5, "torch SGD for-loop"),
    "equipoise AdamW": (lambda p: ep.optim.AdamW(p, **ADAM), 7, "torch AdamW for-loop"),
    "equipoise SGDW": (lambda p: ep.optim.SGDW(p, weight_decay=0.0, **SGD), 5, "torch SGD for-loop"),
    "equipoise AdamW, no compiler": (lambda p: ep.optim.AdamW(p, runner="blocked", **ADAM), 7, "torch AdamW for-loop"),
    **{
        f"equipoise {name}, no compiler": (_make(*OURS[name][::2], runner="blocked"), 7, f"reference {name}")
        for name in SLICED
    },
    **{f"equipoise {name}": (_make(kind, words), n, f"reference {name}") for name, (kind, n, words) in OURS.items()},
}
REFERENCES: dict[str, Make] = {
    "torch AdamW for-loop": CONTENDERS["torch AdamW for-loop"][0],
    "torch SGD for-loop": CONTENDERS["torch SGD for-loop"][0],
    **{f"reference {name}": _make(kind, words, runner="reference") for name, (kind, _, words) in OURS.items()},
}
AGREE = 1e-6  # largest difference of a parameter after three steps; a step moves it by 1e-4


def after_three_steps(make: Callable[[list], torch.optim.Optimizer]) -> list[torch.Tensor]:
    ps = parameters()
    optimizer = make(ps)
    for _ in range(3):
        optimizer.step()
    return [p.detach() for p in ps]


def gate(name: str) -> None:
    """Stop unless a contender agrees with its reference."""
    make, _, reference = CONTENDERS[name]
    wanted, got = after_three_steps(REFERENCES[reference]), after_three_steps(make)
    worst = max((a - b).abs().max().item() for a, b in zip(got, wanted, strict=True))
    if not worst <= AGREE:
        raise SystemExit(f"{name} differs from {reference} by {worst:.2e}: not timed")


def measure(rounds: int, only: list[str], gated: bool) -> dict[str, object]:
    """Median step time of every contender in milliseconds, each beside the baseline, and what ours allocate.

    Contenders are timed one after the other with the baseline in turn, so that a process holds two models at a time.
    """
    base = (ps := parameters(), CONTENDERS[BASELINE][0](ps))[1]
    base.step()
    ms, against, bytes_of = {BASELINE: 0.0}, {BASELINE: 1.0}, {}
    baseline_times: list[float] = []
    for name in only:
        if gated:
            gate(name)
        ps = parameters()
        optimizer = CONTENDERS[name][0](ps)
        for _ in range(2):
            optimizer.step()
            base.step()
        times: list[list[float]] = [[], []]
        for r in range(2 * rounds):
            start = time.perf_counter()
            (base, optimizer)[r % 2].step()
            times[r % 2].append(1e3 * (time.perf_counter() - start))
        baseline_times += times[0]
        ms[name] = statistics.median(times[1])
        against[name] = ms[name] / statistics.median(times[0])
        if name.startswith("equipoise"):
            bytes_of[name] = allocated(ps, optimizer)
    ms[BASELINE] = statistics.median(baseline_times)
    return {"parameters": sum(p.numel() for p in ps), "ms": ms, "ratio": against, "allocated": bytes_of}


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
    for name in runs[0]["ms"]:
        streams = CONTENDERS[name][1]
        ms = statistics.median(run["ms"][name] for run in runs)
        ratios = sorted(run["ratio"][name] for run in runs)
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
ps = parameters()
optimizer = ep.optim.{name}(ps, lr=1e-4)
start = time.perf_counter()
optimizer.step()
print(time.perf_counter() - start)
"""


def first_steps(names: list[str]) -> str:
    """Seconds of the first step in fresh processes: cold and with a warm compile cache."""
    lines = [f"{'first step of':24} {'cold s':>8} {'warm s':>8}"]
    for name in names:
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
            code = FIRST_STEP.format(folder=str(Path(__file__).parent), name=name)
            command = [sys.executable, "-c", code]
            seconds = [
                float(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
                for _ in range(3)
            ]
        lines.append(f"{name:24} {seconds[0]:8.1f} {statistics.median(seconds[1:]):8.1f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", nargs="*", metavar="CLASS", help="first-step times (AdamW LAMB ...) instead")
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS)[1:], help="contenders, as the table names them")
    parser.add_argument("--no-gate", action="store_true", help="skip the check, as later processes of a run do")
    parser.add_argument("--json", action="store_true", help="print one run as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.compile is not None:
        print(first_steps(arguments.compile or ["AdamW", "LAMB", "Ranger21"]))
        return
    if arguments.json:
        print(json.dumps(measure(arguments.rounds, arguments.only, not arguments.no_gate)))
        return
    command = [sys.executable, __file__, "--json", f"--rounds={arguments.rounds}", f"--threads={arguments.threads}"]
    command += ["--only", *arguments.only]
    gates = [[]] + [["--no-gate"]] * (arguments.processes - 1)
    outputs = [subprocess.run(command + gate, check=True, capture_output=True, text=True) for gate in gates]
    print(f"torch {torch.__version__}, {arguments.threads} threads, {arguments.processes} process(es)")
    print(table([json.loads(output.stdout) for output in outputs]))


if __name__ == "__main__":
    main()
