"""The table and the page that `bench/peers.py` writes: a line per method, a cell per library and way."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import torch
import workload
from peer_contenders import compiles
from peer_methods import LIBRARIES, METHODS, Method, Peer
from peer_timing import YARDSTICK

Runs = dict[str, list[dict[str, Any]]]  # a method's title -> its processes, the eager one first
FASTER = 0.9  # another eager way is named beside the default one when it takes less than this of its time


def table(runs: Runs) -> str:
    """Markdown: times over the yardstick's in the same process; a star where formulas differ."""
    ways = ["torch", "timm", "pytorch_optimizer", "torchao"]
    names = ["method", "equipoise", "no compiler", *ways]
    if _with_compiled(runs):
        names += ["torch compiled", "pytorch_optimizer compiled"]
    lines = [f"| {' | '.join([*names, 'first step, s'])} |", f"|---|{'---:|' * len(names)}"]
    lines += [_line(method, runs[method.title], names[3:]) for method in METHODS if method.title in runs]
    return "\n".join(lines)


def _with_compiled(runs: Runs) -> bool:
    return any(run["way"] != "eager" for found in runs.values() for run in found)


def _line(method: Method, runs: list[dict[str, Any]], names: list[str]) -> str:
    eager = runs[0]
    cells = [_figure(eager, "equipoise") or _said(eager, "equipoise"), _figure(eager, "equipoise blocked") or "–"]
    for name in names:
        library, _, way = name.partition(" ")
        peer = next((p for p in method.peers if p.library == library), None)
        if peer is None:
            cells.append("–")
        elif way:
            cells.append(_compiled(runs, library) if compiles(method, library) else "–")
        else:
            cells.append(_eager(eager, library) + ("\\*" if peer.differs and library not in eager["failed"] else ""))
    first = eager["first_s"].get("equipoise")
    return f"| {' | '.join([method.title, *cells, '–' if first is None else f'{first:.1f}'])} |"


def _figure(run: dict[str, Any], key: str) -> str:
    return f"{run['ms'][key] / run['ms'][YARDSTICK]:.2f}" if key in run["ms"] else ""


def _eager(run: dict[str, Any], library: str) -> str:
    """As the constructor makes it, and a faster eager way beside it."""
    default = _figure(run, library)
    for way in ("fused", "loop"):
        key = f"{library} {way}"
        if default and key in run["ms"] and run["ms"][key] < FASTER * run["ms"][library]:
            return f"{default} ({way} {_figure(run, key)})"
    return default or _said(run, library)


def _compiled(runs: list[dict[str, Any]], library: str) -> str:
    key = f"{library} compiled"
    for run in runs:
        if key in run["ms"]:
            return f"{_figure(run, key)} after {run['first_s'][key]:.0f} s"
        if key in run["failed"]:
            return _said(run, key)
    return "not timed"


def _said(run: dict[str, Any], key: str) -> str:
    why = run["failed"].get(key)
    if why is None:
        return "–"
    if why.startswith("more than"):
        return why.replace("more than", ">")
    return "recompiles" if why.startswith("compiles again") else "fails"


def findings(runs: Runs) -> list[str]:
    """Lines below the table: formulas that differ, pairs that ought to agree and do not, failures, other remarks."""
    notes: dict[str, dict[str, None]] = {}
    differing, wrong, failed = [], [], []
    for method in METHODS:
        for run in runs.get(method.title, []):
            for peer in method.peers:
                if run["way"] == "eager" and peer.library in run["apart"]:
                    (differing if peer.differs else wrong).extend(_compared(method, peer, run["apart"][peer.library]))
            failed += [f"- {method.title}, {key}: {why}" for key, why in run["failed"].items()]
            for key, words in run["notes"].items():
                for word in words:
                    notes.setdefault(f"{key.removesuffix(' loop')} {word}", {})[method.title] = None
    absent = [method.title for method in METHODS if method.title not in runs]
    blocks = [
        ("\\* Formulas differ, so that ends were not compared with ours (how far apart they were):", differing),
        ("Formulas agree by the sources, ends do not:", wrong),
        ("What failed:", failed),
        ("Remarks:", [f"- {word}: {', '.join(titles)}" for word, titles in notes.items()]),
        ("Not timed when this page was written:", [f"- {', '.join(absent)}"] if absent else []),
    ]
    return ["\n".join([title, "", *lines]) for title, lines in blocks if lines]


def _compared(method: Method, peer: Peer, apart: float) -> list[str]:
    if peer.differs:
        return [f"- {method.title}, {peer.library}: {peer.differs} ({apart:.1g})"]
    return [] if apart <= peer.within else [f"- {method.title}, {peer.library}: {apart:.1g}"]


def page(runs: Runs, layers: int) -> str:
    """The page that goes to docs/."""
    every = [run for found in runs.values() for run in found]
    versions = ", ".join([f"torch {torch.__version__.partition('+')[0]}", *map(_version, LIBRARIES[1:])])
    yard = sorted(run["ms"][YARDSTICK] for run in every)
    numel = sum(p.numel() for p in workload.parameters()) / 1e6
    threads = every[0]["threads"]
    work = (
        f"{numel:.1f} M float32 parameters in {len(workload.shapes())} tensors shaped like a {layers}-layer transformer"
    )
    what = (
        "Time of one step over that of `torch.optim.AdamW(fused=True)` in the same process: below 1 is faster than "
        "torch's own fused AdamW. Written by `make bench-peers`."
    )
    how = (
        f"The work: {work}, on the CPU with {threads} thread{'s' if threads > 1 else ''}; medians. {versions}. The "
        f"yardstick itself took {yard[0]:.1f} to {yard[-1]:.1f} ms over these processes: read differences below a "
        "quarter as noise."
    )
    reading = f"{READING} {COMPILED}" if _with_compiled(runs) else READING
    return "\n\n".join(["# Step times beside other libraries", what, how, reading, table(runs), *findings(runs)]) + "\n"


READING = (
    "Every method of ours for which one of these libraries has a class, with the same numbers in each. A cell is "
    "the step as the library's constructor makes it; in brackets a faster way without a compiler that it offers "
    "(`fused`, or `loop` for `foreach=False`). torchao compiles by itself. A dash: not in that library. No "
    'compiler: our `runner="blocked"`. First step: ours, compilation included; less once the cache is warm. Muon and '
    "NorMuon step the matrices alone, SOAP and Shampoo those of the blocks, means over the ten steps between "
    "refreshes: their products make the figures large. SAM and its kin: both halves around torch's fused AdamW, "
    "without the model's passes between them, and so with one gradient in both: of these ends only tell that weights "
    "come back before the step; Sophia: a step without a new curvature. Before timing, each pair "
    "steps eight times on changing gradients and one block of the model. Cells without a star: every tensor ended"
    " where ours did, within 0.1 % of the way it moved (matrices of Muon and NorMuon: 5 %, Newton-Schulz in "
    "bfloat16; LARS of pytorch_optimizer: on matrices, since it steps vectors by plain momentum)."
)
COMPILED = (
    "Compiled: `torch.compile` around the step as torch's recipe has it, `create_optimizer(compile=True)` of "
    "pytorch_optimizer; with the seconds of the first step. timm offers none."
)


def _version(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"{name} not installed"
