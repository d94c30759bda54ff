"""What is done to a traced phase before it is compiled: factors out of sums, and writes into the loop that sums."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import equipoise as ep
from equipoise.core.early import early_state
from equipoise.core.hoist import hoist
from equipoise.core.joined import join_writes
from equipoise.core.trace import Layout, trace_list

COPY, SUM = torch.ops.aten.copy_.default, torch.ops.aten.sum.dim_IntList
KEEP = "inductor_force_stride_order"


@pytest.fixture(autouse=True)
def _inductor():
    import torch._inductor.ir  # noqa: F401  # defines the operation that keeps a value in memory


def layout(chain, apart=(), measured=False):
    dtypes = (torch.float32,) * len(chain.kernel_keys())
    return Layout(
        chain, 2, torch.float32, torch.float32, dtypes, torch.device("cpu"), apart=apart, spread=bool(apart),
        measured=measured,
    )  # fmt: skip


def kept(graph):
    return [node for node in graph.graph.nodes if KEEP in str(node.target)]


def written(graph):
    return [node.args[1] for node in graph.graph.nodes if node.target is COPY]


def test_averages_that_are_summed_are_written_where_they_are_summed():
    own = layout(ep.optim.lamb(), apart=("tensor",))
    graph, _ = trace_list(own, 1, (), early_state(own))
    join_writes(graph)
    assert len(kept(graph)) == 2
    assert written(graph) == kept(graph)
    assert all(len(node.users) > 1 for node in kept(graph))  # the sums read what is kept, too


def test_a_measured_step_writes_where_it_measures():
    graph, _ = trace_list(layout(ep.optim.adamw(), measured=True), 1)
    join_writes(graph)
    assert set(written(graph)) == set(kept(graph))


@pytest.mark.parametrize("name", ["lamb", "adamp", "adamw"])
def test_what_waits_for_a_sum_is_left_alone(name):
    """One process: p follows from the sums, so it is written after them; nothing is summed only to be handed out."""
    graph, _ = trace_list(layout(getattr(ep.optim, name)()), 1)
    join_writes(graph)
    assert not kept(graph)


def scaled_sums(x, factor, weight):
    y = x * factor
    return y.sum(1), y.sum(1, keepdim=True), (y * y).sum(1), (x * weight).sum(1), (factor * factor).sum(1)


def test_a_factor_of_each_row_leaves_its_sum():
    x, factor, weight = torch.randn(5, 7).double(), torch.randn(5, 1).double(), torch.randn(7).double()
    graph = make_fx(scaled_sums, tracing_mode="symbolic")(x, factor, weight)
    wanted = graph(x, factor, weight)
    hoist(graph)
    for got, value in zip(graph(x, factor, weight), wanted, strict=True):
        torch.testing.assert_close(got, value)
    summed = [node.args[0] for node in graph.graph.nodes if node.target is SUM]
    assert [node.op for node in summed[:2]] == ["placeholder"] * 2  # of x itself
    assert [node.op for node in summed[2:]] == ["call_function"] * 3  # a product with itself, with a row, of factors


def test_one_loop_sums_and_writes():
    """Ranger21's first phase: the mean that centralizes does not wait for the clip before it."""
    own = layout(ep.optim.ranger21())
    graph, _ = trace_list(own, 1, (), early_state(own))
    hoist(graph)
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    of_g = [node for node in graph.graph.nodes if node.target is SUM and node.args[0] is inputs[1]]
    assert len(of_g) == 1
