"""Vector units: which of the processor's Inductor may use, asked once per machine rather than once per process.

Inductor finds out by loading small libraries in child processes, which takes a second whenever a process compiles or
finds compiled code in the cache. What it found is kept, where all of them worked.
"""

from __future__ import annotations

from equipoise.core.kept import keep, recall


def find_vector_units() -> None:
    """Have Inductor's list of vector units ready, as kept if it is; no more than a saving of time."""
    import torch._inductor.config as settings
    from torch._inductor import cpu_vec_isa as units

    needed = ("valid_vec_isa_list", "supported_vec_isa_list", "x86_isa_checker")
    if not all(hasattr(units, name) for name in needed) or getattr(settings.cpp, "vec_isa_ok", True) is not None:
        return  # another Inductor, or one that was told
    reported = units.x86_isa_checker()
    if not reported:
        return  # nothing is tried out on other processors
    question = ("vector units", reported)
    if recall(question):
        with settings.patch({"cpp.vec_isa_ok": True}):
            units.valid_vec_isa_list()  # which keeps its answer
        return
    promised = [str(unit) for unit in units.supported_vec_isa_list if {*str(unit).split()} <= {*reported}]
    if [str(unit) for unit in units.valid_vec_isa_list()] == promised:
        keep(question, answer=True)
