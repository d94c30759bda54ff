"""Vector units: which of the processor's Inductor may use, asked once per machine rather than once per process.

Inductor finds out by loading small libraries in child processes, which takes a second whenever a process compiles or
finds compiled code in the cache. What it found is noted beside its cache: for the version and place of torch, the
compiler and the units that the processor reports. A note is made only where all of them worked.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import torch


def find_vector_units() -> None:
    """Have Inductor's list of vector units ready, from the note if there is one; no more than a saving of time."""
    import torch._inductor.config as settings
    from torch._inductor import cpu_vec_isa as units

    needed = ("valid_vec_isa_list", "supported_vec_isa_list", "x86_isa_checker")
    if not all(hasattr(units, name) for name in needed) or getattr(settings.cpp, "vec_isa_ok", True) is not None:
        return  # another Inductor, or one that was told
    reported = units.x86_isa_checker()
    if not reported:
        return  # nothing is tried out on other processors
    note = _note([name for name in settings.cpp.cxx if name], reported)
    if note.exists():
        with settings.patch({"cpp.vec_isa_ok": True}):
            units.valid_vec_isa_list()  # which keeps its answer
        return
    promised = [str(unit) for unit in units.supported_vec_isa_list if {*str(unit).split()} <= {*reported}]
    if [str(unit) for unit in units.valid_vec_isa_list()] == promised:
        _write(note)


def _note(compilers: list[str], reported: list[str]) -> Path:
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    found = [Path(path).resolve() for name in compilers if (path := shutil.which(name))]
    built = [(str(path), path.stat().st_mtime_ns) for path in found]
    known = (torch.__version__, torch.__file__, compilers, built, os.environ.get("LD_LIBRARY_PATH"), reported)
    return Path(cache_dir()) / f"equipoise-vector-units-{hashlib.sha256(repr(known).encode()).hexdigest()[:16]}"


def _write(note: Path) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
    except OSError:
        return  # a cache that cannot be written to is Inductor's to complain about
