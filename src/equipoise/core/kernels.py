"""Kernels: one phase of a step, compiled on first use and kept for all optimizers of this process.

The step is traced with symbolic lengths and handed to Inductor directly. Dynamo is not involved: there are no guards to
evaluate, no recompilation limit to run into, no specialisation on sizes, ranks or views.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor
from torch.fx import GraphModule

from equipoise.core.blocks import cuttable, in_blocks
from equipoise.core.driven import Phase, compiled_for_driver, drivable
from equipoise.core.early import early_state, reread_state
from equipoise.core.hoist import hoist
from equipoise.core.joined import join_writes
from equipoise.core.kept_phase import keep_phase, kept_phase
from equipoise.core.settle import settle
from equipoise.core.trace import Known, Layout, scalar_kinds, trace_list
from equipoise.core.vector_units import find_vector_units

Compiled = Callable[..., Sequence[Tensor]]


class Kernel:
    """One compiled phase for lists of `length` tensors. `calls`: launches; `early`: it writes before a barrier.

    `phase` is what the driver runs, and None where the kernel itself is called.
    """

    def __init__(self, layout: Layout, length: int, backend: str, known: tuple[Known, ...] = ()) -> None:
        self.layout, self.length, self.backend, self.calls = layout, length, backend, 0
        self.compiled: Compiled | None = None
        driven = drivable(layout, backend)
        kept = kept_phase(layout, known, length) if driven else None
        if kept is not None:
            self.phase, self.early = kept
            self.asked = self.phase.asked
            return
        made = self._made(known, driven=driven)
        if isinstance(made, Phase):
            self.phase = made
            keep_phase(layout, known, length, made, early=self.early)
        else:
            self.phase, self.compiled = None, made

    def _made(self, known: tuple[Known, ...], *, driven: bool) -> Compiled | Phase:
        """Trace and compile."""
        layout, length, make = self.layout, self.length, BACKENDS[self.backend]
        early = early_state(layout)
        self.early = bool(early) and not known
        graph, self.asked = trace_list(layout, length, known, early if self.early else ())
        if early and known:
            reread_state(graph, early, length)
        examples = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
        if driven:
            return compiled_for_driver(make, graph, examples, layout, self.asked)
        made = make(graph, examples, False)
        if self.backend == "eager" and length == 1 and cuttable(layout.chain, graph):
            return in_blocks(made, scalar_kinds(self.asked, layout), rows=bool(self.asked.rows))
        return made

    def __call__(self, *tensors: Tensor) -> Sequence[Tensor]:
        """Run one phase over one list (see `trace.trace_list`): what it hands out, if anything."""
        assert self.compiled is not None, "the driver runs this one"
        self.calls += 1
        return self.compiled(*tensors)


# Checks of sizes stay on: a compiler that fixed an extent would otherwise write where it must not. What is read twice
# is computed twice: memory is what a step waits for, and scratch as large as a parameter would be more of it. Sums over
# rows are too short to share between threads.
_NO_LIMIT = 1 << 30
_OPTIONS = {
    "alignment_asserts": False,
    "realize_reads_threshold": _NO_LIMIT,
    "realize_opcount_threshold": _NO_LIMIT,
    "realize_acc_reads_threshold": _NO_LIMIT,
    "cpp.min_chunk_size": 8192,
    "cpp.enable_floating_point_contract_flag": "fast",
}


def _inductor(graph: GraphModule, examples: list[Tensor], serial: bool) -> Compiled:
    import torch._inductor.config as settings
    from torch._inductor import standalone_compile

    _say_compiling()
    if examples[0].is_cpu:
        find_vector_units()
    for prepare in (hoist, join_writes, settle):
        prepare(graph)
    with settings.patch({**_OPTIONS, "cpp.threads": 1} if serial else _OPTIONS):
        return standalone_compile(graph, [*examples], dynamic_shapes="from_graph")


@cache
def _say_compiling() -> None:
    sys.stderr.write("equipoise: compiling the step, once; later processes find it in torch's cache\n")


def _aot_eager(graph: GraphModule, examples: list[Tensor], serial: bool) -> Compiled:
    from torch._dynamo.backends.registry import lookup_backend

    return lookup_backend("aot_eager")(graph, examples)


Backend = Callable[[GraphModule, list[Tensor], bool], Compiled]  # the last: whether kernels are to run on one thread
BACKENDS: dict[str, Backend] = {"inductor": _inductor, "aot_eager": _aot_eager, "eager": lambda *given: given[0]}
_KERNELS: dict[tuple[object, ...], Kernel] = {}


def kernel_for(layout: Layout, *, length: int, backend: str = "inductor", known: tuple[Known, ...] = ()) -> Kernel:
    """The kernel of one phase of a layout, compiled on first use and shared by all optimizers of this process."""
    key = (layout, length, backend, known, torch.get_num_threads())
    if key not in _KERNELS:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's own deprecation notices are not the user's business
            _KERNELS[key] = Kernel(layout, length, backend, known)
    return _KERNELS[key]


def kernels() -> list[Kernel]:
    """Every kernel compiled so far in this process."""
    return list(_KERNELS.values())


def why_not_compile(device: torch.device) -> str | None:
    """None when kernels can be compiled for a device, else what stands in the way and the cure."""
    if os.environ.get("EQUIPOISE_COMPILE", "1") == "0":
        return "EQUIPOISE_COMPILE=0 turns compilation off"
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return None if has_triton() else "Triton was not found. Cure: pip install triton"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # importing Inductor warns about torch's own deprecations
            from torch._inductor.cpp_builder import get_cpp_compiler

        get_cpp_compiler()
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"no C++ compiler was found ({first}). Cure: install g++ (Debian: apt-get install g++) or set CXX"
    return None
