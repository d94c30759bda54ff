"""Which weights are scale-invariant, and where will decay and learning rate take them? Found by test, not by name."""

import torch
from torch import nn

import equipoise as ep
from equipoise.scaling.equilibrium import equilibrium
from equipoise.scaling.inversion import decay_for_rotation

LR, DECAY = 1e-3, 0.1


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(32, 64, bias=False), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )
    found = ep.find_scale_invariant(model, torch.randn(16, 32))
    for name, weight in model.named_parameters():
        print(f"{name:10s} {tuple(weight.shape)!s:10s} {'scale-invariant' if found[name].whole else ''}")
        if found[name].whole:
            settled = equilibrium(method="adamw", lr=LR, weight_decay=DECAY, beta1=0.9, numel=weight.numel())
            print(f"  AdamW, lr {LR:g}, decay {DECAY:g}: norm {weight.norm():.2f} -> {settled.weight_norm:.2f},")
            print(f"  {settled.rotation:.4f} rad per step, after about {settled.relaxation_steps:.0f} steps")
            print(f"  for 0.002 rad per step: decay {decay_for_rotation(rotation=2e-3, lr=LR, beta1=0.9):.4f}")


if __name__ == "__main__":
    main()
