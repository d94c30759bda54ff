"""What can shrink my weights? The same model under six cells of the decay grid, same start and same batches."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import equipoise as ep

STEPS, LR, DECAY = 200, 3e-3, 0.1
CELLS = {
    "none": None,
    "inside the gradient (Adam with L2)": {"place": "grad"},
    "before the step (AdamW)": {"place": "before"},
    "after the step, L1, exact zeros": {"place": "prox", "metric": "l1"},
    "towards the initial weights": {"target": "init"},
    "where it agrees with the step": {"mask": "cautious"},
}


def adam_with(cell: dict[str, str] | None) -> object:
    """Adam's chain with that decay in its place."""
    parts = [ep.stages.ema(), ep.stages.second_moment(), ep.stages.divide(), ep.stages.apply()]
    if cell is not None:
        place = {"grad": 0, "prox": 4}.get(cell.get("place", "before"), 3)
        parts.insert(place, ep.decay.shrink(**cell))
    return ep.chain(*parts, hyper={"lr": LR, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": DECAY})


def train(cell: dict[str, str] | None) -> tuple[float, float, float]:
    """(norm of the first matrix, share of exact zeros in it, held-out loss)."""
    torch.manual_seed(0)
    x, y = (torch.tensor(a) for a in load_digits(return_X_y=True))
    x = x.float() / 16
    model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 10))
    opt = ep.Optimizer(model, adam_with(cell), verbose=False)
    for _ in range(STEPS):
        batch = torch.randint(1400, (64,))
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        opt.zero_grad()
        loss.backward()
        opt.step()
    first = model[0].weight.detach()
    with torch.no_grad():
        held_out = nn.functional.cross_entropy(model(x[1400:]), y[1400:]).item()
    return first.norm().item(), (first == 0).double().mean().item(), held_out


def main() -> None:
    print(f"{'decay':36s} {'norm':>6s} {'zeros':>6s} {'held-out loss':>14s}   (one seed: a picture, no proof)")
    for name, cell in CELLS.items():
        norm, zeros, held_out = train(cell)
        print(f"{name:36s} {norm:6.2f} {zeros:6.1%} {held_out:14.3f}")


if __name__ == "__main__":
    main()
