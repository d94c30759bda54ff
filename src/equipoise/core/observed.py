"""What torch does around every step of an optimizer: a name for profilers, and hooks. Names cost less here."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch._C._profiler import _RecordFunctionFast
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

P = ParamSpec("P")
R = TypeVar("R")
_GLOBAL = (_global_optimizer_pre_hooks, _global_optimizer_post_hooks)


def observed(func: Callable[P, R]) -> Callable[P, R]:
    """A step as `torch.optim.Optimizer.profile_hook_step` makes it; that one itself for hooks, and in torch.compile."""
    hooked = torch.optim.Optimizer.profile_hook_step(func)

    @wraps(func)
    def wrapper(*args: P.args, **words: P.kwargs) -> R:
        self: Any = args[0]
        hooks = (self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks, *_GLOBAL)
        if torch.compiler.is_compiling() or any(hooks):
            return hooked(*args, **words)
        with _RecordFunctionFast(f"Optimizer.step#{type(self).__name__}.step"):
            out = func(*args, **words)
            self._optimizer_step_code()
        return out

    return wrapper
