"""A model of tensors of many shapes, plain or cut over a mesh, that is trained with given gradients."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.placement_types import _StridedShard

from equipoise.core.optimizer import Optimizer
from laws.subjects import chain_of

# 33 and 7 do not divide by any number of processes here; of 2 and 1 rows some processes hold nothing.
SHAPES = [(33, 5), (2, 9), (7,), (4, 3, 2, 2), (1, 1), (12, 8), (16, 6), (3,), ()]
# name -> (processes along each axis of the mesh, -1 for the rest; placements of matrices, of vectors)
LAYOUTS = {
    "rows": ((-1,), [Shard(0)], [Shard(0)]),
    "columns": ((-1,), [Shard(1)], [Replicate()]),
    "hsdp": ((2, -1), [Replicate(), Shard(0)], [Replicate(), Shard(0)]),
    "both": ((2, -1), [Shard(0), Shard(1)], [Shard(0), Replicate()]),
    "strided": ((2, -1), [_StridedShard(0, split_factor=2), Shard(0)], [Shard(0), Replicate()]),
}
Place = tuple[str, DeviceMesh] | None


def mesh_of(layout: str, world: int) -> DeviceMesh:
    shape = LAYOUTS[layout][0]
    known = math.prod(n for n in shape if n > 0)
    return init_device_mesh("cpu", tuple(world // known if n == -1 else n for n in shape))


def placed(tensor: Tensor, place: Place) -> Tensor:
    if place is None:
        return tensor.clone()
    layout, mesh = place
    _, matrices, vectors = LAYOUTS[layout]
    even = layout != "strided" or (tensor.ndim > 1 and tensor.shape[0] % 4 == 0)
    chosen = matrices if tensor.ndim > 1 and even else vectors if tensor.ndim == 1 else [Replicate()] * len(vectors)
    return distribute_tensor(tensor.clone(), mesh, chosen, src_data_rank=None)


def drawn(seed: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]


class Weights(nn.Module):
    def __init__(self, place: Place, dtype: torch.dtype = torch.float32, seed: int = 3) -> None:
        super().__init__()
        self.tensors = nn.ParameterList(nn.Parameter(placed(t, place)) for t in drawn(seed, dtype))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.place, self.dtype = place, dtype

    def train_by(self, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
        """Steps first ... last, each with its own gradients."""
        for step in range(first, last + 1):
            for p, g in zip(self.tensors, drawn(100 + step, self.dtype), strict=True):
                p.grad = placed(g, self.place)
            optimizer.step()
            self.seen += 1

    def whole(self) -> list[Tensor]:
        found = [p.full_tensor() if isinstance(p, DTensor) else p for p in self.tensors]
        return [p.detach() for p in found] + [self.seen]


def optimizer_of(name: str, model: nn.Module, runner: str = "reference") -> Optimizer:
    return Optimizer(model.parameters(), chain_of(name), runner=runner)


def error(ours: list[Tensor], theirs: list[Tensor]) -> float:
    pairs = zip(ours, theirs, strict=True)
    return max(((a - b).abs().max() / b.abs().max().clamp(min=1)).item() for a, b in pairs)


def uninterrupted(name: str, steps: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    model = Weights(None, dtype)
    model.train_by(optimizer_of(name, model), 1, steps)
    return model.whole()
