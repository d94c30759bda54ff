"""Norms of large inputs compile themselves where that is faster: same numbers, as often differentiable, never fatal."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref

import pytest
import torch
from torch import nn
from torch._dynamo.exc import Unsupported
from torch.func import jvp, vmap
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import equipoise.nn as en
from equipoise._errors import ArgumentError
from equipoise.nn.norms import kernels
from laws.norm_subjects import NORMS, filled, inputs_of, outputs

compiles = pytest.mark.compile
pytestmark = pytest.mark.filterwarnings(  # the compiler's and the tracer's
    "ignore::DeprecationWarning", "ignore:.*torch.jit:FutureWarning", "ignore:The .grad attribute"
)
FLOAT32 = {
    "partial_rms_norm", "crms_norm", "running_norm", "power_norm", "ada_ln_zero", "style_adaptive_ln", "online_norm",
    "pc_norm", "cc_norm", "sc_norm", "filter_response_norm", "global_response_norm", "evo_norm_b0", "evo_norm_s0",
    "dyt", "tanh_norm",
}  # fmt: skip
EVAL = {"alpha_batch_norm", "unmix_tns"}
HALF = {
    "scale_norm", "scaler", "msg_norm", "shifted_unit_norm", "mean_only_batch_norm",
    "frozen_batch_norm",
}  # fmt: skip
TORCHS = {  # torch's layers in these want one dtype
    "ada_ln_zero", "style_adaptive_ln", "sdd_linear", "layer_norm", "rms_norm", "group_norm", "instance_norm",
}  # fmt: skip
ONCE = {"online_norm"}  # its control process writes over what a second derivative would need, eager too


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
    torch._dynamo.reset()
    for name, value in (("_KERNELS", {}), ("_REFUSED", set()), ("COMPILED_FROM", 1)):
        monkeypatch.setattr(kernels, name, value)


@pytest.fixture
def counted(monkeypatch):
    """The layers that asked for a kernel; nothing is compiled."""
    asked = []

    def plain(kind, look, forward):
        asked.append(kind.__name__)
        return forward

    monkeypatch.setattr(kernels, "_kernel", plain)
    return asked


def found(layer, name, *, seed, training, after=None, twice=False):
    """Outputs, gradients, gradients of their squares and buffers of one call."""
    inputs = [x.requires_grad_() for x in inputs_of(name, dtype=torch.float32, seed=seed)]
    given = [y for y in outputs(layer.train(training), inputs) if y.is_floating_point()]
    given = given if after is None else [after(y) for y in given]
    leaves = [*inputs, *layer.parameters()]
    loss = torch.stack([y.square().sum() for y in given]).sum()
    grads = [g for g in torch.autograd.grad(loss, leaves, allow_unused=True, create_graph=twice) if g is not None]
    if twice:
        size = torch.stack([g.square().sum() for g in grads]).sum()
        grads += [g for g in torch.autograd.grad(size, leaves, allow_unused=True) if g is not None]
    return [*given, *grads, *layer.state_dict().values()]


@compiles
@pytest.mark.parametrize("name", ["evo_norm_b0", pytest.param("all", marks=pytest.mark.slow)])
def test_numbers_states_and_second_derivatives_are_those_of_the_eager_layer(name):
    for each in sorted(FLOAT32 | EVAL) if name == "all" else [name]:
        eager = en.compile_norms(filled(each, torch.float32), on=False)
        own = filled(each, torch.float32)
        for seed, (training, twice) in enumerate([(True, False), (False, False), (True, True), (False, True)]):
            if twice and training and each in ONCE:
                continue
            pair = [found(layer, each, seed=seed, training=training, twice=twice) for layer in (eager, own)]
            for a, b in zip(*pair, strict=True):
                scale = float(a.detach().abs().max()) if a.is_floating_point() and a.numel() else 1.0
                torch.testing.assert_close(
                    b, a, rtol=1e-4, atol=1e-4 * scale, msg=lambda said, each=each: f"{each}: {said}"
                )
    assert kernels._KERNELS
    assert not kernels._REFUSED


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_each_layer_asks_for_a_kernel_where_that_pays(dtype, training, counted):
    wanted = set() if dtype == torch.float64 else FLOAT32 | (HALF if dtype == torch.bfloat16 else set())
    wanted |= EVAL if dtype != torch.float64 and not training else set()
    asking = set()
    for name in NORMS:
        counted.clear()
        layer = filled(name, torch.float64 if dtype == torch.float64 else torch.float32).train(training)
        if name in TORCHS:
            layer = layer.to(dtype)
        outputs(layer, inputs_of(name, dtype=dtype))
        asking |= {name} if counted else set()
    assert asking == wanted


def test_small_inputs_transforms_tracers_and_switched_layers_stay_eager(counted, monkeypatch):
    layer, x = en.CRMSNorm(4), torch.randn(3, 4)
    assert layer(x) is not None
    assert counted == ["CRMSNorm"]
    vmap(layer)(x)
    jvp(layer, (x,), (x,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sizes become constants, and that there is a successor
        torch.jit.trace(layer, x, check_trace=False)
    torch.compile(layer, backend="eager", fullgraph=True)(x)
    en.compile_norms(en.CRMSNorm(4), on=False)(x)
    layer(x[:0])
    with FlopCounterMode(display=False):
        layer(x)
    monkeypatch.setattr(kernels, "COMPILED_FROM", 13)
    layer(x)
    assert counted == ["CRMSNorm"]


def test_gradients_are_those_of_the_call_when_the_output_is_changed_in_place(counted):
    for name in sorted(FLOAT32 - {"ada_ln_zero"}):  # its outputs are views, which cannot be
        eager, own = en.compile_norms(filled(name, torch.float32), on=False), filled(name, torch.float32)
        pair = [found(layer, name, seed=0, training=True, after=torch.relu_) for layer in (eager, own)]
        for a, b in zip(*pair, strict=True):
            assert torch.equal(a, b), name
    assert len(counted) == len(FLOAT32) - 1


@compiles
def test_an_output_changed_in_place_after_a_real_kernel():
    for name in ("filter_response_norm", "pc_norm"):
        eager, own = en.compile_norms(filled(name, torch.float32), on=False), filled(name, torch.float32)
        pair = [found(layer, name, seed=0, training=True, after=torch.relu_) for layer in (eager, own)]
        for a, b in zip(*pair, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4)


@compiles
def test_under_activation_checkpointing_autocast_and_no_grad():
    own = nn.Sequential(nn.Linear(6, 8), en.PartialRMSNorm(8), nn.Linear(8, 2))
    eager, x = en.compile_norms(copy.deepcopy(own), on=False), torch.randn(5, 6)
    for model in (eager, own):
        checkpoint(model, x, use_reentrant=False).square().sum().backward()
    for a, b in zip(eager.parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(own(x), eager(x), rtol=2e-2, atol=2e-2)


def test_frozen_parameters_and_inputs_without_gradient(counted):
    layer, x = en.FilterResponseNorm(3), torch.randn(2, 3, 4, 4)
    layer(x).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    layer.requires_grad_(False)
    assert not layer(x).requires_grad
    y = layer(x.requires_grad_())
    y.sum().backward()
    assert x.grad is not None
    assert counted == ["FilterResponseNorm"] * 3


@compiles
def test_hooks_on_parameters_and_inputs_run_once_and_what_they_return_counts():
    found = []
    for on in (True, False):
        layer, x = (
            filled("filter_response_norm", torch.float32),
            inputs_of("filter_response_norm", dtype=torch.float32)[0],
        )
        layer = layer if on else en.compile_norms(layer, on=False)
        calls = []
        for tensor in (x.requires_grad_(), *layer.parameters()):
            tensor.register_hook(lambda grad, calls=calls: calls.append(0) or 2 * grad)
        layer(x).square().sum().backward()
        found.append([x.grad, *[p.grad for p in layer.parameters()]])
        assert len(calls) == len(found[-1])
    assert kernels._KERNELS
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_a_layer_holds_its_own_parameters_again_when_its_kernel_failed(monkeypatch):
    def broken(*inputs, **named):
        raise ZeroDivisionError

    monkeypatch.setattr(kernels, "_kernel", lambda kind, look, forward: broken)
    layer = en.FilterResponseNorm(3)
    before = [*map(id, layer.parameters())]
    with pytest.raises(ZeroDivisionError):
        layer(torch.randn(2, 3, 4, 4))
    assert [*map(id, layer.parameters())] == before


@compiles
def test_more_variants_than_torch_compiles_stay_eager(monkeypatch):
    monkeypatch.setitem(kernels._SETTINGS, "recompile_limit", 1)
    layer, x = en.CRMSNorm(4), torch.randn(3, 4)
    layer(x)
    with pytest.warns(UserWarning, match="CRMSNorm stays eager"):
        y = layer(x.bfloat16())
    assert torch.equal(y, en.compile_norms(en.CRMSNorm(4), on=False)(x.bfloat16()))


def test_what_a_call_kept_is_freed_with_the_graph(counted):
    layer, x = en.CRMSNorm(4), torch.randn(3, 4, requires_grad=True)
    loss = layer(x).sum()
    kept = weakref.ref(loss.grad_fn.next_functions[0][0].y[0])
    loss.backward(retain_graph=True)
    assert kept() is not None
    loss.backward()
    gc.collect()
    assert kept() is None
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    assert counted == ["CRMSNorm"]


@compiles
def test_bad_input_raises_what_the_eager_layer_raises():
    for layer in (en.CRMSNorm(4), en.compile_norms(en.CRMSNorm(4))):
        with pytest.raises(ArgumentError, match="CRMSNorm"):
            layer(torch.randn(3, 5))
        torch.testing.assert_close(
            layer(torch.ones(3, 4)), en.compile_norms(en.CRMSNorm(4), on=False)(torch.ones(3, 4))
        )
    assert not kernels._REFUSED


def test_what_torch_cannot_compile_stays_eager_with_one_warning(monkeypatch):
    tried = []

    def broken(kind, look, forward):
        def kernel(*inputs, **named):
            tried.append(kind)
            raise Unsupported("no such luck")

        return kernel

    monkeypatch.setattr(kernels, "_kernel", broken)
    layer, x = en.CRMSNorm(4), torch.randn(3, 4)
    with pytest.warns(UserWarning, match=r"CRMSNorm stays eager: .*no such luck"):
        y = layer(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(layer(x), y)
    assert len(tried) == 1
    with pytest.raises(Unsupported):
        en.compile_norms(en.DyT(4))(x)


def test_a_machine_without_compiler_hears_of_it_once(monkeypatch, counted):
    monkeypatch.setattr(kernels, "_obstacle", lambda device: "no C++ compiler was found")
    layer, x = en.CRMSNorm(4), torch.randn(3, 4)
    with pytest.warns(UserWarning, match="stay eager, some at half speed: no C"):
        layer(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        en.PartialRMSNorm(4)(x)
    assert not counted


def test_the_environment_keeps_them_eager_without_a_word(monkeypatch, counted):
    monkeypatch.setattr(kernels, "_obstacle", lambda device: "EQUIPOISE_COMPILE=0 turns compilation off")
    en.CRMSNorm(4)(torch.randn(3, 4))
    assert not counted
