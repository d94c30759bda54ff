"""C++ between kernels: where tensors are, what blocks sum to; and what the planner makes of both."""

from array import array
from itertools import chain
from math import isnan

import pytest
import torch

import equipoise as ep
from equipoise.core import driven, driver, lockstep, native, run_fused, table


@pytest.fixture
def loaded(require):
    require("compiler")
    native.library()


@pytest.mark.compile
@pytest.mark.usefixtures("loaded")
def test_addresses_are_those_that_tensors_tell():
    whole = torch.zeros(10, 4)
    tensors = [whole, whole[3:], whole[:, 1:], torch.nn.Parameter(torch.ones(2)), torch.empty(0), torch.zeros(())]
    wanted = [t.data_ptr() for t in tensors]
    assert native.addresses(tensors).tolist() == wanted
    out = array("q", bytes(8 * len(tensors)))
    assert native._lookup()(tensors, out.buffer_info()[0]) == 1  # in C++, not in Python's stead
    assert out.tolist() == wanted
    assert native.addresses(()).tolist() == []


@pytest.mark.compile
@pytest.mark.usefixtures("loaded")
def test_a_tensor_without_memory_is_an_error_as_it_is_in_python():
    sparse = torch.eye(2).to_sparse()
    for asked in ([sparse], [torch.zeros(1), sparse]):
        with pytest.raises(RuntimeError, match=r"data pointer|storage"):
            native.addresses(asked)


@pytest.mark.compile
@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_are_joined_in_float64_and_what_is_no_number_stays(dtype):
    blocks = torch.tensor([[1e8, -3.0], [1.0, -2.0], [-1e8, -7.0], [5.0, 4.0], [1.0, 2.0], [2.0, 3.0]], dtype=dtype)
    joined = native.Joined(blocks, [3, 1, 2], [False, True])
    wanted = torch.tensor([[1.0, -2.0], [5.0, 4.0], [3.0, 3.0]], dtype=torch.float64)
    assert torch.equal(joined(), wanted)
    assert joined.totals.tolist() == [9.0, 4.0]
    for place in (0, 1, 2):
        blocks[:3] = 1.0
        blocks[place] = float("nan")
        assert joined()[0].isnan().all()
        assert all(map(isnan, joined.totals))
        assert torch.equal(joined()[1:], wanted[1:])


def stepped(name, steps=4, **words):
    generator = torch.Generator().manual_seed(5)
    shapes = [(40, 30), (7,), (300, 20), (64, 64), (33,)]
    ps = [torch.nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64)) for s in shapes]
    optimizer = getattr(ep.optim, name)(ps, lr=0.01, runner="fused", **words)
    for _ in range(steps):
        for p in ps:
            p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        optimizer.step()
    return [[p, *optimizer.state[p].values()] for p in ps]


@pytest.mark.compile
@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("name", ["AdamS", "Ranger21", "GSM"])
def test_a_table_that_is_too_narrow_for_the_answers_grows(name, monkeypatch):
    wanted = stepped(name)
    monkeypatch.setattr(table, "SPARE", 0)
    grown = stepped(name)
    assert [len(own) for own in grown] == [len(own) for own in wanted]
    for got, value in zip(chain(*grown), chain(*wanted), strict=True):
        assert torch.equal(got, value)


@pytest.mark.compile
@pytest.mark.usefixtures("loaded")
def test_each_phase_begins_with_what_the_one_before_it_ended_with_and_the_last_with_the_largest(monkeypatch):
    orders = []
    own = driven.Driven._order

    def seen(self, later):
        order = own(self, later)
        numels = [(end - start) * self.columns[0][i][0].numel() for i, start, end in self.items]
        orders.append((later, [numels[k] for k in order.tolist()], order.tolist()))
        return order

    monkeypatch.setattr(driven.Driven, "_order", seen)
    stepped("AdamS", steps=1)
    assert orders
    last = [numels for later, numels, _ in orders if later == 0]
    assert all(numels == sorted(numels, reverse=True) for numels in last)
    firsts, lasts = ([order for own, _, order in orders if own == later] for later in (1, 0))
    assert sorted(order[::-1] for order in firsts) == sorted(lasts)


@pytest.mark.compile
@pytest.mark.usefixtures("loaded")
def test_batches_are_launched_together_unless_their_stacks_share_memory(monkeypatch):
    counts = {lockstep: [], run_fused: []}
    for module, own in counts.items():
        launch = module.launch
        monkeypatch.setattr(
            module, "launch", lambda many, own=own, launch=launch: own.append(len(many)) or launch(many)
        )
    stepped("AdamS", steps=1)
    assert counts == {lockstep: [2, 2], run_fused: []}  # matrices and vectors, two phases
    counts[lockstep].clear()
    stepped("Muon", steps=1)
    assert counts[lockstep] == [1]  # the vectors
    assert set(counts[run_fused]) == {1}


@pytest.mark.compile
@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_launches_of_several_graphs_do_the_same_on_any_number_of_threads(threads, monkeypatch):
    wanted, used = stepped("Ranger21"), []
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    program = driver.Calls.program
    monkeypatch.setattr(driver.Calls, "program", lambda *given: used.append(given[-1]) or program(*given))
    for got, value in zip(chain(*stepped("Ranger21")), chain(*wanted), strict=True):
        assert torch.equal(got, value)
    assert max(used) == threads
    used.clear()
    one = torch.nn.Parameter(torch.ones(50))
    one.grad = torch.ones(50)
    ep.optim.AdamW([one], lr=0.01, runner="fused").step()
    assert set(used) == {1}  # no thread is woken that has nothing to do
