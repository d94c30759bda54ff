"""Drive: call a compiled kernel for many parts of tensors, from C++ and on all threads.

What a kernel is called with is an array of integers, made once per plan; what changes from step to step (where
gradients are, the table of coefficients) is added as it runs. So a step costs no Python per tensor.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

SCRATCH = -1  # a reference to the memory that each thread has for itself
_PLACES = (16, 32, 64, 128)  # a kernel is given so many integers and takes the first ones: the caller owns the stack

_CASES = "".join(
    f"if (count <= {n}) return reinterpret_cast<void (*)({', '.join(['W'] * n)})>(f)"
    f"({', '.join(f'a[{k}]' for k in range(n))});\n"
    for n in _PLACES
)
_SOURCE = f"""
#include <cstdint>
#include <omp.h>
using W = int64_t;  // pointers and sizes: eight bytes each, passed alike

static void call(W f, W count, const W* a) {{
{_CASES}}}

static void item(W kernels, const W* functions, const W* counts, const W* args, const int32_t* refs, const W* bases,
                 W scratch) {{
    W resolved[{_PLACES[-1]}] = {{}};
    for (W k = 0; k < kernels; k++) {{
        const W count = counts[k];
        for (W j = 0; j < count; j++) resolved[j] = args[j] + (refs[j] < 0 ? scratch : bases[refs[j]]);
        call(functions[k], count, resolved);
        args += count;
        refs += count;
    }}
}}

extern "C" void drive(W kernels, const W* functions, const W* counts, W width, W items, const W* args,
                      const int32_t* refs, const W* bases, W scratch, W bytes, W threads) {{
    const auto run = [&](W i, W thread) {{
        const W at = width * i;
        item(kernels, functions, counts, args + at, refs + at, bases, scratch + bytes * thread);
    }};
    if (threads < 2) {{
        for (W i = 0; i < items; i++) run(i, 0);
        return;
    }}
    #pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (W i = 0; i < items; i++) run(i, omp_get_thread_num());
}}
"""
MOST_ARGUMENTS = _PLACES[-1]


@cache
def _library() -> Callable[..., None]:
    from torch._inductor.codecache import CppCodeCache

    drive = CppCodeCache.load(_SOURCE).drive
    drive.restype, drive.argtypes = None, [ctypes.c_int64] * 11
    return drive


class Calls:
    """Calls of one graph's kernels, for many items: for each argument of each call a number and a reference to a base.

    Args:
        functions: addresses of the graph's kernels, in the order in which they run; counts: arguments of each.
        args, refs: int64 and int32 [items, sum of counts]: an argument is its number plus the base referred to.
        scratch: bytes that one thread needs for itself.
        alone: whether kernels use all threads by themselves, so that items run one after the other.
    """

    def __init__(
        self, functions: Sequence[int], counts: Sequence[int], args: Tensor, refs: Tensor, scratch: int, *, alone: bool
    ) -> None:  # fmt: skip
        self.args, self.refs, self.alone, self.bytes = args, refs, alone, scratch
        self.functions = torch.tensor(functions, dtype=torch.int64)
        self.counts = torch.tensor(counts, dtype=torch.int64)
        self.memory = torch.empty(0, dtype=torch.uint8)
        self.fixed = (len(functions), self.functions.data_ptr(), self.counts.data_ptr(), args.shape[1])

    def __call__(self, bases: Sequence[int], only: range | None = None) -> None:
        """Run all items, or some. `bases[0]` must be 0."""
        first, items = (0, len(self.args)) if only is None else (only.start, len(only))
        threads = 1 if self.alone else min(torch.get_num_threads(), items)
        if self.memory.numel() < self.bytes * threads:
            self.memory = torch.empty(self.bytes * threads, dtype=torch.uint8)
        at = array("q", bases)
        _library()(
            *self.fixed, items, self.args[first:].data_ptr(), self.refs[first:].data_ptr(), at.buffer_info()[0],
            self.memory.data_ptr(), self.bytes, threads,
        )  # fmt: skip
