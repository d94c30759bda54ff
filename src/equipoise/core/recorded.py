"""Recorded: what the code that Inductor writes around its kernels calls them with, found out without calling them.

The code is run once per shape on tensors without memory, its own checks of sizes included, with every kernel replaced
by one that notes its arguments.
"""

from __future__ import annotations

import ast
import builtins
import ctypes
import inspect
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._C._dynamo import guards

_ALIGNED = 64
_GIVEN = {
    "assert_size_stride": "assert_size_stride",
    "assert_size_stride_grouped": "assert_size_stride_grouped",  # seen in torch 2.15
    "reinterpret_tensor": "_reinterpret_tensor",
}  # what the code calls besides kernels, by its name among torch's guards
_EMPTY = "empty_strided_cpu"
_METHODS = {"size", "stride", "clear"}


@dataclass(frozen=True)
class Argument:
    """One argument of a kernel: byte `number` of input `of`; of the graph's own memory (-1); or a size (None)."""

    of: int | None
    number: int


@dataclass(frozen=True)
class Record:
    """The calls of one graph on inputs of some shapes: kernels' names with their arguments, what it returns, and the
    bytes of its own memory."""

    calls: tuple[tuple[str, tuple[Argument, ...]], ...]
    results: tuple[Argument, ...]
    memory: int


class Wrapper:
    """The Python code around the kernels of one compiled graph.

    Args:
        source: of a function that takes a list of inputs, `call(self, args)` or `call(args)`.
        libraries: of each kernel that it calls the file that holds it.

    Raises:
        LookupError, SyntaxError: the source uses what is not known here.
    """

    def __init__(self, source: str, libraries: Mapping[str, str]) -> None:
        self.source, self.libraries = source, dict(libraries)
        tree = ast.parse(source)
        function = tree.body[0]
        if not isinstance(function, ast.FunctionDef):
            raise LookupError("it is no function")
        self.name, self.method = function.name, len(function.args.args) == 2
        found = {own: getattr(guards, name, None) for own, name in _GIVEN.items()}
        self.known = {"torch": torch} | {name: own for name, own in found.items() if own is not None}
        _check_names(function, {*self.known, *libraries, _EMPTY, *dir(builtins)})
        self.code = compile(tree, "<wrapper>", "exec")

    def address(self, name: str) -> int:
        """Where a kernel is in memory."""
        library = ctypes.CDLL(self.libraries[name])
        return ctypes.cast(library.kernel, ctypes.c_void_p).value or 0

    def record(self, inputs: Sequence[tuple[tuple[int, ...], tuple[int, ...], torch.dtype]]) -> Record:
        """What is called with inputs of these sizes, strides and dtypes."""
        given = [torch.empty_strided(size, stride, dtype=dtype, device="meta") for size, stride, dtype in inputs]
        notes = _Notes(given)
        names, own = {**self.known, _EMPTY: notes.empty}, dict[str, Any]()
        exec(self.code, names | {name: notes.kernel(name) for name in self.libraries}, own)
        results = own[self.name](*[None] * self.method, list(given))
        return Record(tuple(notes.calls), tuple(notes.place(t) for t in results), notes.memory)


def _check_names(function: ast.FunctionDef, known: Collection[str]) -> None:
    """That a function uses no names but these and its own."""
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    own = {node.id for node in names if not isinstance(node.ctx, ast.Load)} | {arg.arg for arg in function.args.args}
    unknown = sorted({node.id for node in names} - own - {*known})
    if unknown:
        raise LookupError(f"it uses {', '.join(unknown)}")


class _Notes:
    def __init__(self, given: Sequence[Tensor]) -> None:
        self.at = {t.untyped_storage()._cdata: (i, 0) for i, t in enumerate(given)}
        self.calls: list[tuple[str, tuple[Argument, ...]]] = []
        self.kept: list[Tensor] = []  # so that no storage gets the identity of another
        self.memory = 0

    def empty(self, size: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Tensor:
        made = torch.empty_strided(size, stride, dtype=dtype, device="meta")
        storage = made.untyped_storage()
        self.at[storage._cdata] = (-1, self.memory)
        self.memory += -(-storage.nbytes() // _ALIGNED) * _ALIGNED
        self.kept.append(made)
        return made

    def kernel(self, name: str) -> Callable[..., None]:
        def note(*args: Tensor | int) -> None:
            self.calls.append((name, tuple(self.place(a) if isinstance(a, Tensor) else _size(a) for a in args)))

        return note

    def place(self, tensor: Tensor) -> Argument:
        of, start = self.at[tensor.untyped_storage()._cdata]
        return Argument(of, start + int(tensor.storage_offset()) * tensor.element_size())


def _size(value: int) -> Argument:
    if type(value) is not int:
        raise TypeError(f"a kernel takes {value!r}, which is neither a tensor nor a size")
    return Argument(None, value)


def wrapper_of(compiled: Callable[..., Any], examples: Sequence[Tensor]) -> Wrapper | None:
    """The wrapper within what Inductor returned, or None where it does more than call C++ kernels.

    Where this version or setting of torch writes other code than is understood here, a line on stderr says so, once.
    """
    try:
        return _wrapper(_callable_of(compiled, examples))
    except _MoreError:
        return None
    except (ImportError, LookupError, AttributeError, TypeError, OSError, SyntaxError) as error:
        _say(f"torch {torch.__version__} wraps them in code that is not understood ({type(error).__name__}: {error})")
        return None


@cache
def _say(reason: str) -> None:
    sys.stderr.write(f"equipoise: kernels are called from Python, a tenth slower: {reason}\n")


def _callable_of(
    compiled: Callable[..., Any], examples: Sequence[Tensor]
) -> Callable[[list[Tensor]], Sequence[Tensor]]:
    """What Inductor's compiled graph calls."""
    from torch._inductor.output_code import CompiledFxGraph

    found: list[Callable[[list[Tensor]], Sequence[Tensor]]] = []
    before = CompiledFxGraph.__call__

    def catch(self: CompiledFxGraph, inputs: Sequence[Any]) -> Any:
        assert self.current_callable is not None
        found.append(self.current_callable)
        raise _FoundError

    CompiledFxGraph.__call__ = catch
    try:
        compiled(*examples)
    except _FoundError:
        pass
    finally:
        CompiledFxGraph.__call__ = before
    return found[0]


class _FoundError(Exception):
    """The wrapper was found: what stands around it need not go on."""


class _MoreError(Exception):
    """A wrapper that does more than call C++ kernels."""


def _wrapper(call: Callable[..., Any]) -> Wrapper:
    """The wrapper that a function is, which must lie in a file.

    Raises:
        _MoreError: it calls anything that computes besides kernels in C++.
        LookupError: it calls a function that is not known here.
    """
    names: dict[str, Any] = inspect.unwrap(getattr(call, "__func__", call)).__globals__
    source, libraries = textwrap.dedent(inspect.getsource(call)), {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or (isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS):
            continue
        if not isinstance(node.func, ast.Name):
            raise _MoreError(ast.unparse(node))
        if (name := node.func.id) in _GIVEN or name == _EMPTY or hasattr(builtins, name):
            continue
        library = str(getattr(getattr(names.get(name), "__self__", None), "__file__", ""))
        if not library.endswith(".so"):
            raise LookupError(f"it calls {name}")
        libraries[name] = library
    return Wrapper(source, libraries)
