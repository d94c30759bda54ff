"""Heavy ball: momentum as a decaying sum of gradients.

Source     torch.optim.SGD (form, dampening, first buffer = copy of the gradient); Sutskever et al. 2013 (Nesterov);
           Loshchilov and Hutter 2017, arXiv:1711.05101, Algorithm 1 (learning rate inside the buffer).
Symbols    g, b, u: the parameter's shape; mu = momentum, tau = dampening; t >= 1.
Rule       b_1 = g_1;  b_t = mu b_{t-1} + (1 - tau) g_t       (1)
           u_t = b_t                                          (2)
           u_t = g_t + mu b_t                                 (3) nesterov
           lr_inside: b_1 = eta_1 g_1; b_t = mu b_{t-1} + eta_t g_t; p <- p - b_t    (4)
Differs    (4) is how the paper writes SGDW; its authors' code keeps eta outside. Identical while eta is constant.
Invariant  (1 - mu) times heavy ball is the moving average when both start at zero.
Cost       1 tensor of state.
Avoid      lr_inside with a schedule, unless you want the schedule's effect delayed by about 1/(1 - mu) steps.
"""

from __future__ import annotations

from types import SimpleNamespace

from equipoise._card import method
from equipoise._errors import ArgumentError
from equipoise.core.checks import check_choice
from equipoise.core.stage import Registers, Slot, Stage, StateSpec, Values

RATES = ("momentum", "beta1")


@method(kind="stage", paper="arXiv:1711.05101", equations="Algorithm 1", state_per_param=1.0)
def heavy_ball(
    *, nesterov: bool = False, lr_inside: bool = False, dampened: bool = True, rate: str = "momentum"
) -> Stage:
    """Equations (1) to (4). Group keys: momentum, dampening (and lr when inside). State: momentum_buffer.

    Without `dampened` there is no key dampening and tau = 0. `rate="beta1"` takes mu from betas[0].
    """
    check_choice("rate", rate, RATES)
    if nesterov and lr_inside:
        raise ArgumentError("nesterov", True, "False with lr_inside", "Keep the learning rate outside the buffer.")

    def coefs(h: SimpleNamespace) -> dict[str, float]:
        fresh = h.lr if lr_inside else 1.0
        first = h.t == 1
        mu, tau = getattr(h, rate), h.dampening if dampened else 0.0
        return {"keep": 0.0 if first else mu, "fresh": fresh * (1.0 if first else 1 - tau), "mu": mu}

    def update(r: Registers, s: SimpleNamespace, c: SimpleNamespace) -> tuple[Values, Values]:
        b = s.momentum_buffer * c.keep + r.u * c.fresh  # (1), (4)
        u = r.u + b * c.mu if nesterov else b  # (3), (2)
        registers: Values = {"m": b, "u": u}
        if lr_inside:
            registers["eta"] = 1.0  # (4): the buffer is the step
        return registers, {"momentum_buffer": b}

    return Stage(
        "heavy_ball", Slot.MOMENTUM, update, reads=("u",), writes=("m", "u", "eta") if lr_inside else ("m", "u"),
        state=(StateSpec("momentum_buffer"),), hyper=(rate, "dampening") if dampened else (rate,), coefs=coefs,
        options=(("nesterov", nesterov), ("lr_inside", lr_inside)),
    )  # fmt: skip
