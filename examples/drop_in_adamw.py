"""Swap torch's AdamW for ours in mid-run: its checkpoint loads, its scheduler stays, the numbers go on."""

import copy

import torch
from sklearn.datasets import load_digits
from torch import nn

import equipoise as ep


def train(model: nn.Module, opt: torch.optim.Optimizer, schedule: object, steps: int, seed: int) -> None:
    x, y = (torch.tensor(a) for a in load_digits(return_X_y=True))
    batches = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = torch.randint(len(x), (64,), generator=batches)
        loss = nn.functional.cross_entropy(model(x[batch].double() / 16), y[batch])
        opt.zero_grad()
        loss.backward()
        opt.step()
        schedule.step()


def main() -> None:
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.Linear(64, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 10)).double()
    torch_opt = torch.optim.AdamW(theirs.parameters(), lr=1e-3, weight_decay=0.1)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(torch_opt, T_max=100)
    train(theirs, torch_opt, cosine, steps=50, seed=1)

    ours = copy.deepcopy(theirs)
    our_opt = ep.optim.AdamW(ours.parameters(), lr=1e-3, weight_decay=0.1)
    our_cosine = torch.optim.lr_scheduler.CosineAnnealingLR(our_opt, T_max=100)
    our_opt.load_state_dict(torch_opt.state_dict())
    our_cosine.load_state_dict(cosine.state_dict())

    train(theirs, torch_opt, cosine, steps=50, seed=2)
    train(ours, our_opt, our_cosine, steps=50, seed=2)
    apart = max((a - b).abs().max().item() for a, b in zip(theirs.parameters(), ours.parameters(), strict=True))
    print(f"largest difference of a weight after 50 more steps: {apart:.1e}")
    assert apart < 1e-12


if __name__ == "__main__":
    main()
