"""Norm layers whose forward and backward run as one compiled kernel each, layer by layer, in a model that is not.

A compiler joins the passes that an eager layer makes over its input. `torch.compile` of a whole model does that for
every layer in it. Elsewhere a layer compiles itself where that pays: where eager passes are the slower form (its class
says when) and the input is large, as an optimizer compiles its step for large models. Smaller inputs, float64, other
classes of tensors, transforms and tracers get the eager layer. `compile_norms` is the switch: all norms of a model
always, or none. Without a compiler layers stay eager, and say so once.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from equipoise.core.kernels import why_not_compile
from equipoise.core.vector_units import find_vector_units
from equipoise.nn.norms.by_hand import by_hand
from equipoise.nn.norms.compiled_call import compiled_call

COMPILED_FROM = 1 << 18  # elements of the input; below, a call is over in a fraction of a millisecond
VARIANTS = 64  # of shapes, dtypes and modes per kind of layer, before torch refuses to compile another
HALF = (torch.float16, torch.bfloat16)
_SETTINGS: dict[str, Any] = {"fullgraph": True, "recompile_limit": VARIANTS, "isolate_recompiles": True}
_MARK = "_compiled_as"  # what the layer looks like, as in _KERNELS, or _NEVER
_NEVER = ""
_KERNELS: dict[tuple[type, str], Callable[..., Any]] = {}
_REFUSED: set[str] = set()  # kinds of devices and classes of layers that have been given up, each with a warning

When = Callable[[nn.Module, Tensor], bool]
Forward = TypeVar("Forward", bound=Callable[..., Any])
Model = TypeVar("Model", bound=nn.Module)


def always(layer: nn.Module, x: Tensor) -> bool:
    """The eager passes are the slower form."""
    return True


def in_half(layer: nn.Module, x: Tensor) -> bool:
    """They are where the input must be widened first."""
    return x.dtype in HALF


def in_eval(layer: nn.Module, x: Tensor) -> bool:
    """They are outside of training, where torch has a kernel."""
    return not layer.training


def compilable(when: When | None = None) -> Callable[[Forward], Forward]:
    """A layer's `forward` that can run compiled: where `compile_norms` says so, and unasked for large inputs.

    Args:
        when: tells for a layer and its first input whether the compiled form is the faster one; None: not unasked.
    """

    def decorate(forward: Forward) -> Forward:
        @functools.wraps(forward)
        def run(self: nn.Module, *inputs: Any, **named: Any) -> Any:
            if torch.compiler.is_compiling():
                return forward(self, *inputs, **named)
            mark = self.__dict__.get(_MARK)
            if mark:
                return _run(self, mark, forward, inputs, named, asked=True)
            if mark is None and when is not None and _pays(self, inputs, named) and when(self, inputs[0]):
                return _run(self, _look(self), forward, inputs, named, asked=False)
            return forward(self, *inputs, **named)

        run.__dict__["compilable"] = True
        return run  # type: ignore[return-value]

    return decorate


def _pays(layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Whether plain, large tensors are given, and this machine can compile for them."""
    x = inputs[0] if inputs and not named else None
    return (
        isinstance(x, Tensor)
        and torch._C._get_tracing_state() is None
        and x.numel() >= COMPILED_FROM
        and (x.dtype == torch.float32 or x.dtype in HALF)
        and all(by_hand(value) for value in inputs if value is not None)
        and torch._C._len_torch_dispatch_stack() == 0
        and type(layer).__name__ not in _REFUSED
        and _can_compile(x.device)
    )


def _can_compile(device: torch.device) -> bool:
    if device.type in _REFUSED:
        return False
    obstacle = _obstacle(device.type)
    if obstacle is not None and "EQUIPOISE_COMPILE" not in obstacle:
        _REFUSED.add(device.type)
        warnings.warn(f"equipoise: norm layers stay eager, some at half speed: {obstacle}.", stacklevel=5)
    return obstacle is None


@functools.cache
def _obstacle(device: str) -> str | None:
    return why_not_compile(torch.device(device))


def _look(layer: nn.Module) -> str:
    """What the layer looks like, asked once: equal ones share a kernel."""
    if "_look" not in layer.__dict__:
        layer.__dict__["_look"] = repr(layer)
    return layer.__dict__["_look"]


def _run(
    layer: nn.Module,
    look: str,
    forward: Callable[..., Any],
    inputs: tuple[Any, ...],
    named: dict[str, Any],
    *,
    asked: bool,
) -> Any:
    """The compiled layer; where it cannot be compiled, what the eager one says."""
    # Most of a second, which small layers need not wait for.
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    if not _KERNELS and any(isinstance(x, Tensor) and x.is_cpu for x in inputs):
        find_vector_units()
    try:
        return compiled_call(layer, _kernel(type(layer), look, forward), forward, inputs, named)
    except (TorchDynamoException, FailOnRecompileLimitHit) as error:
        y = forward(layer, *inputs, **named)  # for bad input this raises, by the argument's name
        if asked:
            raise
        name, first = type(layer).__name__, (str(error).strip() or type(error).__name__).splitlines()[0]
        _REFUSED.add(name)
        warnings.warn(f"equipoise: {name} stays eager: torch could not compile it ({first}).", stacklevel=4)
        return y


def _kernel(kind: type, shown: str, forward: Callable[..., Any]) -> Callable[..., Any]:
    """The compiled forward of all layers of a kind that look alike: a model's many norms share one."""
    key = (kind, shown)
    if key not in _KERNELS:
        if not _KERNELS:
            sys.stderr.write("equipoise: compiling norm layers, once; later processes find them in torch's cache\n")
        _KERNELS[key] = torch.compile(forward, **_SETTINGS)
    return _KERNELS[key]


def compile_norms(model: Model, *, on: bool = True) -> Model:
    """The model itself, with its norm layers switched to compiled kernels whatever their input, or to none.

    Unasked, a layer compiles itself only where its eager form is slow and its input has 262,144 elements or more.
    Layers keep their class, their parameters and their state_dict; hooks on them still run. The switch survives
    `copy.deepcopy` and pickling. Kernels are made at a layer's first call, per kind of layer, and again for new ranks,
    dtypes and modes. EQUIPOISE_COMPILE=0 in the environment keeps all layers eager.

    Args:
        model: a model, or one layer.
        on: False keeps the layers eager, large inputs too.

    Returns:
        The same model. Where nothing can be compiled it stays eager, with a warning that names the obstacle.
    """
    layers = [m for m in model.modules() if getattr(type(m).forward, "compilable", False)]
    for layer in layers:
        layer.__dict__[_MARK] = _NEVER
    if not on or not layers:
        return model
    for device in {t.device for t in chain(model.parameters(), model.buffers())} or {torch.device("cpu")}:
        obstacle = why_not_compile(device)
        if obstacle is not None:
            if "EQUIPOISE_COMPILE" not in obstacle:
                warnings.warn(f"equipoise: norm layers stay eager: {obstacle}.", stacklevel=2)
            return model
    for layer in layers:
        layer.__dict__[_MARK] = repr(layer)
    return model
