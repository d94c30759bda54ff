"""A large stack of matrices is solved a few at a time: same results, and memory that was handed over is used again."""

from types import SimpleNamespace

import pytest
import torch

from equipoise.core import matrices
from equipoise.core.optimizer import Optimizer
from equipoise.core.stage import Slot, Stage, total
from laws.subjects import OPTIMS, chain_of, start, train

SEEN: list[int] = []


def solve(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace):
    SEEN.append(len(x.a))
    return {"product": c.k * x.a @ x.b, "half": x.a.to(torch.bfloat16)}, {}


STAGE = Stage("test", Slot.DIRECTION, lambda r, s, c: ({}, {}), partials=lambda r, s, c: {"a": total(r.u)}, solve=solve)


def solved(count: int):
    generator = torch.Generator().manual_seed(0)
    x = {name: torch.randn(count, 3, 3, generator=generator) for name in ("a", "b")}
    SEEN.clear()
    results = matrices.solve_stack(STAGE, {n: v.clone() for n, v in x.items()}, {}, {"k": torch.arange(1.0, count + 1)})
    return x, results


@pytest.mark.parametrize("count", [1, 2, 6, 7, 13])
def test_pieces_give_what_the_whole_gives(count, monkeypatch):
    x, whole = solved(count)
    assert [count] == SEEN
    monkeypatch.setattr(matrices, "_PIECED", 1)
    _, pieces = solved(count)
    assert sum(SEEN) == count
    assert max(SEEN) == (2 if count > 2 else 1)
    expected = torch.arange(1.0, count + 1)[:, None, None] * x["a"] @ x["b"]
    for results in (whole, pieces):
        assert torch.allclose(results["product"], expected)
        assert torch.equal(results["half"], x["a"].to(torch.bfloat16))
    assert pieces["half"].dtype == torch.bfloat16


def remembering(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace):
    SEEN.append(len(x.a))
    total = s.sum + x.a.diagonal(dim1=-2, dim2=-1)
    return {"a": x.a + s.sum.unsqueeze(-1) * c.k}, {"sum": total}


@pytest.mark.parametrize("counts", [[1], [3, 4, 6], [1] * 13, [13], [2, 0, 11]])
def test_state_goes_along_piece_by_piece(counts, monkeypatch):
    """State lies in several tensors, whose borders are not those of the pieces."""
    stage = Stage("test", Slot.DIRECTION, lambda r, s, c: ({}, {}), partials=lambda r, s, c: {}, solve=remembering)
    generator = torch.Generator().manual_seed(0)
    count = sum(counts)
    x, before = torch.randn(count, 3, 3, generator=generator), torch.randn(count, 3, generator=generator)
    k = torch.arange(1.0, count + 1)
    for pieced in (1 << 20, 1):
        monkeypatch.setattr(matrices, "_PIECED", pieced)
        state = [part.clone() for part in before.split(counts)]
        SEEN.clear()
        results = matrices.solve_stack(stage, {"a": x.clone()}, {"sum": state}, {"k": k})
        assert max(SEEN) == (count if pieced > 1 else (2 if count > 2 else 1))
        assert torch.equal(results["a"], x + before.unsqueeze(-1) * k[:, None, None])
        assert torch.equal(torch.cat(state), before + x.diagonal(dim1=-2, dim2=-1))


def test_no_matrix_at_all():
    stage = Stage("test", Slot.DIRECTION, lambda r, s, c: ({}, {}), partials=lambda r, s, c: {}, solve=remembering)
    state = [torch.zeros(0, 3), torch.zeros(0, 3)]
    results = matrices.solve_stack(stage, {"a": torch.zeros(0, 3, 3)}, {"sum": state}, {"k": torch.zeros(0)})
    assert results["a"].shape == (0, 3, 3)


@pytest.mark.parametrize("name", [name for name in OPTIMS if chain_of(name).solves])
def test_optimizers_step_alike_in_pieces(name, monkeypatch):
    outcomes = []
    for pieced in (1 << 20, 1):
        monkeypatch.setattr(matrices, "_PIECED", pieced)
        parameters = start([(5, 3)] * 7 + [(3, 5), (6, 2, 2)])
        groups = [{"params": parameters[:-1]}, {"params": parameters[-1:], "matrix_view": "batch"}]
        train(Optimizer(groups, chain_of(name), runner="reference"), parameters, 4)
        outcomes.append(torch.cat([p.detach().flatten() for p in parameters]))
    assert torch.allclose(*outcomes, rtol=0, atol=1e-12)


def test_what_is_solved_in_place_comes_at_once(monkeypatch):
    def double(x: SimpleNamespace, s: SimpleNamespace, c: SimpleNamespace):
        SEEN.append(len(x.a))
        return {"a": x.a.mul_(2.0)}, {}

    monkeypatch.setattr(matrices, "_PIECED", 1)
    x = torch.ones(7, 3, 3)
    for in_place, most in ((True, 7), (False, 2)):
        stage = Stage("test", Slot.DIRECTION, lambda r, s, c: ({}, {}), solve=double, in_place=in_place)
        SEEN.clear()
        given = x.clone()
        results = matrices.solve_stack(stage, {"a": given}, {}, {})
        assert max(SEEN) == most
        assert torch.equal(results["a"], 2 * x)
        assert results["a"].data_ptr() == given.data_ptr()
