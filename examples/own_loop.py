"""Your own model and loop, watched: a small convolutional net, accumulated gradients, a diagnosis, a page."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import equipoise as ep

STEPS, MICRO_BATCHES = 150, 2


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """1797 pictures [N, 1, 8, 8] in 0..1 and their classes [N]."""
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(y)


def network() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(32, 10)),
    )


def main() -> None:
    torch.manual_seed(0)
    x, y = pictures()
    model = network()
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    epoch = 1400 / (32 * MICRO_BATCHES)
    with ep.watch(model, opt, run_dir="runs/own", inputs=x[:64], total_steps=STEPS, steps_per_epoch=epoch) as w:
        for _ in range(STEPS):
            opt.zero_grad()
            for _ in range(MICRO_BATCHES):  # the watch counts optimizer steps, not backward passes
                batch = torch.randint(1400, (32,))
                loss = nn.functional.cross_entropy(model(x[batch]), y[batch]) / MICRO_BATCHES
                loss.backward()
            opt.step()
            w.log(loss=loss * MICRO_BATCHES)
        model.eval()
        with torch.no_grad():
            w.log(val_loss=nn.functional.cross_entropy(model(x[1400:]), y[1400:]))
    print(f"the watch took {w.overhead['share']:.1%} of the training time (of a model this small)")
    print(*ep.diagnose("runs/own"), sep="\n\n")
    print("page:", ep.write_report("runs/own", "own.html"))


if __name__ == "__main__":
    main()
