"""Lists of flattened tensors, compiled once per kind of chain, whatever the number and the lengths of the tensors.

The step is traced with symbolic lengths and handed to Inductor directly. Dynamo is not involved: there are no guards to
evaluate, no recompilation limit to run into, no specialisation on sizes, ranks or views. What a kernel may assume is
written in its Layout, and the planner only gives it lists that fit: 1-D tensors of 2 to 2^31 - 1 elements.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.fx import GraphModule

from equipoise.core.trace import SCALAR_IN_LISTS, Layout, trace_list

LENGTH = 8
LEAST_EXTENT = 2
MOST_NUMEL = 2**31 - 1

Compiled = Callable[..., object]


class Kernel:
    """One compiled step for lists of `length` tensors. `calls` counts launches, for tests and benchmarks."""

    def __init__(self, layout: Layout, length: int, backend: str) -> None:
        graph = trace_list(layout, length)
        examples = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
        self.layout, self.length, self.backend, self.calls = layout, length, backend, 0
        self.compiled = BACKENDS[backend](graph, examples)

    def __call__(self, *tensors: Tensor) -> None:
        """Step one list: p..., g..., state..., table; p and state are written in place."""
        self.calls += 1
        self.compiled(*tensors)


def _inductor(graph: GraphModule, examples: list[Tensor]) -> Compiled:
    from torch._inductor import standalone_compile

    return standalone_compile(graph, [*examples], dynamic_shapes="from_graph")


def _aot_eager(graph: GraphModule, examples: list[Tensor]) -> Compiled:
    from torch._dynamo.backends.registry import lookup_backend

    return lookup_backend("aot_eager")(graph, examples)


BACKENDS: dict[str, Callable[[GraphModule, list[Tensor]], Compiled]] = {"inductor": _inductor, "aot_eager": _aot_eager}
_KERNELS: dict[tuple[object, ...], Kernel] = {}


def kernel_for(layout: Layout, *, length: int = LENGTH, backend: str = "inductor") -> Kernel:
    """The kernel of a layout, compiled on first use and shared by all optimizers of this process."""
    key = (layout, length, backend, torch.get_num_threads())
    if key not in _KERNELS:
        if backend == "inductor":
            sys.stderr.write("equipoise: compiling the step, once; later processes find it in torch's cache\n")
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's own deprecation notices are not the user's business
            _KERNELS[key] = Kernel(layout, length, backend)
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


class Lists:
    """The tensors of one layout, padded to whole lists; gradients are given anew each step."""

    def __init__(
        self, layout: Layout, ps: Sequence[Tensor], states: Sequence[Sequence[Tensor]], *, length: int, backend: str
    ) -> None:
        self.layout, self.count, self.length = layout, len(ps), length
        self.kernel = kernel_for(layout, length=length, backend=backend)
        missing = -len(ps) % length
        padded = [*ps, *self._fill(layout.p_dtype, missing)]
        self.fill = self._fill(layout.g_dtype, missing)
        scalars = [spec.init == "scalar" for _, _, spec in layout.chain.state_keys()]
        columns = [
            [*(t.view(SCALAR_IN_LISTS) if scalar else t for t in column), *self._fill(dtype, missing, scalar)]
            for column, dtype, scalar in zip(states, layout.state_dtypes, scalars, strict=True)
        ]
        self.rows = torch.zeros(len(padded), layout.width, dtype=torch.float64)
        starts = range(0, len(padded), length)
        self.lists = [(padded[a : a + length], [t for c in columns for t in c[a : a + length]]) for a in starts]

    def _fill(self, dtype: torch.dtype, count: int, scalar: bool = False) -> list[Tensor]:
        shape = SCALAR_IN_LISTS if scalar else (LEAST_EXTENT,) * self.layout.rank
        return [torch.zeros(shape, dtype=dtype, device=self.layout.device) for _ in range(count)]

    def run(self, gs: Sequence[Tensor], rows: Tensor) -> None:
        """Step all tensors: `gs` flattened gradients, `rows` [count, width] float64 on the CPU."""
        self.rows[: self.count] = rows
        self.rows[self.count :] = rows[-1:]
        table = self.rows.to(self.layout.device)
        grads = [*gs, *self.fill]
        for k, (ps, states) in enumerate(self.lists):
            part = slice(k * self.length, (k + 1) * self.length)
            self.kernel(*ps, *grads[part], *states, table[part])
