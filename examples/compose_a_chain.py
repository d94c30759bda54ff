"""An optimizer from parts: Lion whose decay pulls to the initial weights, and only where it agrees with the step."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import equipoise as ep


def main() -> None:
    torch.manual_seed(0)
    x, y = (torch.tensor(a) for a in load_digits(return_X_y=True))
    x = x.float() / 16
    model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 10))

    mine = ep.chain(
        ep.stages.lion_momentum(),
        ep.stages.sign(),
        ep.decay.shrink(target="init", mask="cautious"),
        ep.stages.apply(),
        hyper={"lr": ep.schedules.cosine(3e-4, total_steps=200), "betas": (0.9, 0.99), "weight_decay": 0.3},
    )
    opt = ep.Optimizer(model, mine)
    print(opt.recipe())
    print(opt.plan())
    for _ in range(200):
        batch = torch.randint(1400, (64,))
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        right = (model(x[1400:]).argmax(1) == y[1400:]).double().mean()
    print(f"held-out pictures read right: {right:.1%}")


if __name__ == "__main__":
    main()
