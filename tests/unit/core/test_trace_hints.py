"""Extents that kernels are traced with: a compiler fixes one that has the length of a vector register."""

from dataclasses import replace

import torch

import equipoise as ep
from equipoise.core import trace
from equipoise.core.chain import chain
from equipoise.core.trace import Layout, trace_list


def layout_of(own, rank=1, small=False):
    dtypes = (torch.float32,) * len(own.kernel_keys())
    return Layout(own, rank, torch.float32, torch.float32, dtypes, torch.device("cpu"), small)


def extents(i: int) -> list[int]:
    hints = [*trace._HINTS.values(), *trace._SMALL_HINTS.values()]
    return [hint + trace._STRIDE * i for shape in hints for hint in shape]


def test_no_extent_is_a_multiple_of_a_vector_register():
    assert all(extent % 4 for i in range(24) for extent in extents(i))


def test_no_two_extents_of_a_list_are_equal():
    for shape in (trace._HINTS[2], trace._SMALL_HINTS[2]):
        seen = [hint + trace._STRIDE * i for i in range(24) for hint in shape]
        assert len(seen) == len(set(seen))


def test_rows_lie_apart_and_no_two_strides_are_equal():
    for small in (False, True):
        made = [t for i in range(8) for t in trace._examples(layout_of(ep.optim.ranger21(), 2, small), i, (1,))]
        strides = [t.stride(0) for t in made]
        extents = {extent for t in made for extent in t.shape}
        assert all(stride > t.shape[1] and stride % 4 for stride, t in zip(strides, made, strict=True))
        assert len(set(strides)) == len(strides)
        assert not extents & set(strides)


def test_the_width_of_the_table_stands_in_the_graph():
    """Torch's cache would hand out a kernel for another width, where coefficients that no kernel reads are added."""
    plain = ep.optim.muon()
    (solved,) = [k for k, stage in enumerate(plain.stages) if stage.reduction == "matrix"]
    wider = replace(plain.stages[solved], coefs=lambda h: {"unread": 1.0}, options=(("wider", True),))
    other = chain(*plain.stages[:solved], wider, *plain.stages[solved + 1 :], hyper=plain.hyper)
    graphs = [trace_list(layout_of(own), 1)[0].code for own in (plain, other)]
    assert graphs[0] != graphs[1]
    assert f"[{1 + len(plain.coef_names())}]" in graphs[0]
