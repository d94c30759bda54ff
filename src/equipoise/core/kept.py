"""Kept: what compiling has found, beside Inductor's cache, so that later processes need neither trace nor compile.

Torch's own cache is asked with a traced graph and Inductor loaded, which takes one to two seconds of every process. An
answer here holds for these sources, this torch with the settings that Inductor has now, these compilers and this
processor; anything else is another question.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from equipoise._errors import RunError
from equipoise.core.durable import write_atomically

_VARIABLES = ("LD_LIBRARY_PATH", "ATEN_CPU_CAPABILITY")  # of the environment; Inductor's own are among its settings
_FIRST_PROCESSOR = 40  # lines of /proc/cpuinfo that hold all that it says of one


def recall(question: object) -> Any:
    """What was kept for a question, told apart by its repr; None where there is nothing, or nothing that can be read.

    Only files of this user are read: what they name will be run.
    """
    path = _place(question)
    try:
        if path is None or (os.name == "posix" and path.stat().st_uid != os.getuid()):
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def keep(question: object, answer: object) -> None:
    """Keep an answer, of what JSON can hold, where a folder can be written to."""
    path = _place(question)
    if path is None:
        return
    text = json.dumps(answer).encode()
    try:
        write_atomically(path, lambda file: file.write(text))
    except RunError:
        return  # a cache that cannot be written to is Inductor's to complain about


def _place(question: object) -> Path | None:
    """Where the answer to a question is; None where nothing is to be kept."""
    import torch._inductor.config as settings
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    sources = _sources()
    if sources is None or settings.force_disable_caches or not settings.fx_graph_cache:
        return None
    told = [os.environ.get(name) for name in _VARIABLES]
    here = (
        sources,
        _machine(),
        _compilers(tuple(settings.cpp.cxx)),
        told,
        settings.get_hash(),
        torch.get_default_dtype(),
    )
    return Path(cache_dir()) / "equipoise" / f"{hashlib.sha256(repr((here, question)).encode()).hexdigest()}.json"


@cache
def _sources() -> str | None:
    """What tells this version of the package from any other; None where its files cannot be read."""
    found = hashlib.sha256()
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    for file in files:
        found.update(file.read_bytes())
    return found.hexdigest() if files else None


@cache
def _machine() -> tuple[object, ...]:
    """Torch, Python and the processor."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            told = [line for line in islice(file, _FIRST_PROCESSOR) if line.startswith(("model name", "flags", "Feat"))]
    except OSError:
        told = [platform.processor()]
    return (torch.__version__, torch.version.git_version, torch.__file__, sys.version, platform.platform(), told)


@cache
def _compilers(names: tuple[str | None, ...]) -> tuple[object, ...]:
    found = [Path(path).resolve() for name in names if name and (path := shutil.which(name))]
    return (names, [(str(path), path.stat().st_mtime_ns) for path in found])
