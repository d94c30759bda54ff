"""Native: the C++ that drives compiled kernels, and what Python would be slow at between them.

A step's kernels go through more memory than caches hold, so that what runs between them finds its own code and objects
gone: one call of C++ in the place of a few tensor operations, or of a lookup per tensor, is what a small step notices.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor

from equipoise.core.kept import keep, recall

_PLACES = (16, 32, 64, 128)  # a kernel is given so many integers and takes the first ones: the caller owns the stack

_CASES = "".join(
    f"if (count <= {n}) return reinterpret_cast<void (*)({', '.join(['W'] * n)})>(f)"
    f"({', '.join(f'a[{k}]' for k in range(n))});\n"
    for n in _PLACES
)
_SOURCE = f"""
#include <cstdint>
#include <vector>
#include <omp.h>
using W = int64_t;  // pointers and sizes: eight bytes each, passed alike

static void call(W f, W count, const W* a) {{
{_CASES}}}

struct Program {{  // what one graph's kernels are called with, for all its items
    W kernels; const W* functions; const W* counts; W width; W items; const W* args; const int32_t* refs;
    const W* bases; W scratch; W bytes;
}};

static void run(const Program& p, W item, W thread) {{
    const W* args = p.args + p.width * item;
    const int32_t* refs = p.refs + p.width * item;
    const W scratch = p.scratch + p.bytes * thread;
    W resolved[{_PLACES[-1]}] = {{}};
    for (W k = 0; k < p.kernels; k++) {{
        const W count = p.counts[k];
        for (W j = 0; j < count; j++) resolved[j] = args[j] + (refs[j] < 0 ? scratch : p.bases[refs[j]]);
        call(p.functions[k], count, resolved);
        args += count;
        refs += count;
    }}
}}

extern "C" void drive(W programs, const Program* of, W threads) {{
    W items = 0;
    for (W i = 0; i < programs; i++) items += of[i].items;
    const auto one = [&](W item, W thread) {{
        const Program* p = of;
        for (; item >= p->items; p++) item -= p->items;
        run(*p, item, thread);
    }};
    if (threads < 2) {{  // in no region, not even one of a single thread: kernels may have regions of their own
        for (W i = 0; i < items; i++) one(i, 0);
        return;
    }}
    #pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (W i = 0; i < items; i++) one(i, omp_get_thread_num());
}}

static void take(double& to, double now, bool first, W largest) {{
    if (first) to = now;
    else if (!largest) to += now;
    else if (now > to || now != now) to = now;  // what is no number stays
}}

template <class T>
static void join(
    W columns, const W* largest, W tensors, const W* lengths, const T* of, double* to, double* all
) {{
    for (W i = 0; i < tensors; i++, to += columns) {{
        for (W block = 0; block < lengths[i]; block++, of += columns)
            for (W k = 0; k < columns; k++) take(to[k], of[k], block == 0, largest[k]);
        for (W k = 0; k < columns; k++) take(all[k], to[k], i == 0, largest[k]);
    }}
}}

struct Question {{  // what one graph asks of all tensors, those of other graphs of its group included; whom to tell
    W columns; const W* largest; W tensors; const W* lengths; const void* of; double* to; double* all; W wide;
    W group; void* table; W pitch;
}};

extern "C" void join_blocks(const Question* q) {{
    if (q->wide) join(q->columns, q->largest, q->tensors, q->lengths, static_cast<const double*>(q->of), q->to, q->all);
    else join(q->columns, q->largest, q->tensors, q->lengths, static_cast<const float*>(q->of), q->to, q->all);
}}

template <class T>
static void tell(const Question& q, const double* all, T* table) {{
    for (W i = 0; i < q.tensors; i++, table += q.pitch)
        for (W k = 0; k < q.columns; k++) table[k] = static_cast<T>(all[k]);
}}

extern "C" void relay(
    W first, const Program* launched, W threads, W questions, const Question* asked, W last, const Program* then, W more
) {{
    drive(first, launched, threads);
    std::vector<std::vector<double>> all(questions);  // by group
    for (W i = 0; i < questions; i++) {{
        const Question& q = asked[i];
        auto& own = all[q.group];
        join_blocks(&q);
        for (W k = 0; k < q.columns; k++)
            if (static_cast<W>(own.size()) <= k) own.push_back(q.all[k]);
            else take(own[k], q.all[k], false, q.largest[k]);
    }}
    for (W i = 0; i < questions; i++) {{
        const double* own = all[asked[i].group].data();
        if (asked[i].wide) tell(asked[i], own, static_cast<double*>(asked[i].table));
        else tell(asked[i], own, static_cast<float*>(asked[i].table));
    }}
    drive(last, then, more);
}}

extern "C" W addresses(void* list, W count, void* (*item)(void*, W), W (*address)(void*), W* out) {{
    const W ahead = 16;  // objects lie anywhere, and none of them is in a cache; what they point to first is the tensor
    try {{
        for (W i = 0; i < count; i++) {{
            if (i + ahead < count) __builtin_prefetch(item(list, i + ahead));
            if (i + ahead / 2 < count) __builtin_prefetch(static_cast<void**>(item(list, i + ahead / 2))[2]);
            out[i] = address(item(list, i));
        }}
        return 1;
    }} catch (...) {{  // a tensor without memory of its own
        return 0;
    }}
}}
"""
MOST_ARGUMENTS = _PLACES[-1]


@cache
def library() -> ctypes.CDLL:
    """The functions of the source, compiled on first use and kept in torch's cache."""
    question = ("library", _SOURCE)
    found = _loaded(recall(question))
    if found is None:
        from torch._inductor.codecache import CppCodeCache

        found = CppCodeCache.load(_SOURCE)
        keep(question, found._name)
    for name, count in (("drive", 3), ("join_blocks", 1), ("relay", 8)):
        function = getattr(found, name)
        function.restype, function.argtypes = None, [ctypes.c_int64] * count
    return found


def _loaded(path: str | None) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(path) if path is not None else None
    except OSError:
        return None  # it is gone


@cache
def _lookup() -> Callable[[list[Tensor], int], int]:
    """`addresses` of the source, called with Python's lock held."""
    from torch._C._dynamo import guards

    address: int = getattr(guards, "_torchinductor_pyobject_tensor_data_ptr")  # noqa: B009 - torch's stubs lack it
    found = ctypes.PyDLL(library()._name).addresses
    found.restype, found.argtypes = ctypes.c_int64, [ctypes.py_object, ctypes.c_int64, *[ctypes.c_void_p] * 3]
    item = ctypes.cast(ctypes.pythonapi.PyList_GetItem, ctypes.c_void_p).value
    return lambda tensors, out: found(tensors, len(tensors), item, address, out)


def addresses(tensors: Sequence[Tensor]) -> array[int]:
    """Where the memory of each tensor begins; tensor by tensor in Python until kernels have been driven."""
    if library.cache_info().currsize:
        out = array("q", bytes(8 * len(tensors)))
        if _lookup()([*tensors], out.buffer_info()[0]):
            return out
    return array("q", map(Tensor.data_ptr, tensors))


class Joined:
    """Columns of numbers of blocks, joined into those of tensors, and those into one number for all.

    Args:
        blocks: [blocks, columns], float32 or float64, the blocks of each tensor beside each other.
        lengths: blocks of each tensor, at least one.
        largest: of each column whether the largest counts, instead of the sum, which is taken in float64.
    """

    def __init__(self, blocks: Tensor, lengths: Sequence[int], largest: Sequence[bool]) -> None:
        self.values = torch.empty(len(lengths), blocks.shape[1], dtype=torch.float64)
        self.totals = array("d", bytes(8 * blocks.shape[1]))
        own = torch.tensor(lengths, dtype=torch.int64), torch.tensor(largest, dtype=torch.int64)
        self.kept = (blocks, *own)
        places = (own[1].data_ptr(), len(lengths), own[0].data_ptr(), blocks.data_ptr(), self.values.data_ptr())
        to = (*places, self.totals.buffer_info()[0])
        self.question = array("q", (blocks.shape[1], *to, blocks.dtype == torch.float64))
        self.call = partial(library().join_blocks, self.question.buffer_info()[0])

    def __call__(self) -> Tensor:
        """float64 [tensors, columns], in memory that the next call uses again; `totals` then has those of all."""
        self.call()
        return self.values
