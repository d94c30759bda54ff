"""What compiling found is found again where everything that it follows from is the same, and nowhere else."""

import json
import os
from dataclasses import replace

import pytest
import torch
import torch._inductor.config as settings

import equipoise as ep
from equipoise.core import kept, kept_phase, kernels
from equipoise.core.kept import keep, recall
from equipoise.core.stage import Slot, Stage, StateSpec
from equipoise.core.trace import Layout

PLAIN = torch.float32


@pytest.fixture(autouse=True)
def folder(own_cache):
    return own_cache / "equipoise"


def test_an_answer_is_found_again_and_another_question_has_none():
    keep(("how many", 2), {"eggs": [1, None, "a"]})
    assert recall(("how many", 2)) == {"eggs": [1, None, "a"]}
    assert recall(("how many", 3)) is None


CHANGES = {
    "another version of the package": lambda patch: patch.setattr(kept, "_sources", lambda: "others"),
    "another processor": lambda patch: patch.setattr(kept, "_machine", lambda: ("others",)),
    "another compiler": lambda patch: patch.setattr(kept, "_compilers", lambda names: ("others", names)),
    "another capability": lambda patch: patch.setenv("ATEN_CPU_CAPABILITY", "default"),
    "other libraries": lambda patch: patch.setenv("LD_LIBRARY_PATH", "/elsewhere"),
    "another folder": lambda patch: patch.setenv(
        "TORCHINDUCTOR_CACHE_DIR", os.environ["TORCHINDUCTOR_CACHE_DIR"] + "2"
    ),
    "a package without sources": lambda patch: patch.setattr(kept, "_sources", lambda: None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_where_something_else_differs_nothing_is_found(monkeypatch, change):
    keep("question", 1)
    CHANGES[change](monkeypatch)
    assert recall("question") is None


@pytest.mark.parametrize(
    "setting", [{"cpp.min_chunk_size": 77}, {"force_disable_caches": True}, {"fx_graph_cache": False}]
)
def test_settings_of_the_compiler_are_part_of_every_question(setting):
    keep("question", 1)
    with settings.patch(setting):
        assert recall("question") is None
        keep("question", 2)
        assert recall("question") == (None if "cpp.min_chunk_size" not in setting else 2)
    assert recall("question") == 1


def test_what_cannot_be_read_or_is_not_ours_is_nothing(folder, monkeypatch):
    keep("question", 1)
    (file,) = folder.glob("*.json")
    monkeypatch.setattr(os, "getuid", lambda: file.stat().st_uid + 1)
    assert recall("question") is None
    monkeypatch.undo()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder.parent))
    assert recall("question") == 1
    file.write_text('{"half a')
    assert recall("question") is None


def test_the_package_is_told_by_the_content_of_its_sources(tmp_path, monkeypatch):
    place = tmp_path / "package" / "core"
    place.mkdir(parents=True)
    monkeypatch.setattr(kept, "__file__", str(place / "kept.py"))
    seen = set()
    for text in ("x = 1", "x = 2"):
        (place / "kept.py").write_text(text)
        kept._sources.cache_clear()
        seen.add(kept._sources())
    kept._sources.cache_clear()
    assert len(seen) == 2


# ---- phases ----------------------------------------------------------------------------------------------------------


def layout(chain=None, **options):
    made = ep.optim.AdamW([torch.nn.Parameter(torch.zeros(3, 2))], lr=0.1, **options)._chains[0]
    chain = chain if chain is not None else made
    return Layout(chain, 1, PLAIN, PLAIN, tuple(PLAIN for _ in chain.kernel_keys()), torch.device("cpu"))


def kernel(layout):
    """One that this process has not made before."""
    kernels._KERNELS.clear()
    return kernels.kernel_for(layout, length=1)


@pytest.mark.compile
def test_a_phase_that_was_kept_is_neither_traced_nor_compiled(require, monkeypatch):
    require("compiler")
    first = kernel(layout())

    def fail(*_, **__):
        raise AssertionError

    monkeypatch.setattr(kernels.Kernel, "_made", fail)
    again = kernel(layout())
    assert (again.early, again.asked, again.phase.cut, again.phase.alone) == (
        first.early, first.asked, first.phase.cut, first.phase.alone,
    )  # fmt: skip
    sizes = [((100,), (1,), PLAIN)] * 4 + [((1, layout().width), (layout().width, 1), PLAIN)]
    assert again.phase.wrapper.record(sizes) == first.phase.wrapper.record(sizes)
    for other in (layout(mask="cautious"), layout(target="unit_row")):
        with pytest.raises(AssertionError):
            kernel(other)


@pytest.mark.compile
def test_where_its_libraries_are_gone_it_is_compiled_again(require, folder):
    require("compiler")
    phase = kernel(layout()).phase
    for file in folder.glob("*.json"):
        own = json.loads(file.read_bytes())
        if isinstance(own, dict) and "libraries" in own:
            own["libraries"] = dict.fromkeys(own["libraries"], "/gone.so")
            file.write_text(json.dumps(own))
    assert kept_phase.kept_phase(layout(), (), 1) is None
    assert kernel(layout()).phase.wrapper.libraries == phase.wrapper.libraries


def double(g):
    return 2 * g


def test_stages_from_elsewhere_are_not_kept_nor_those_around_them():
    own = Stage("twice", Slot.GRADIENT, lambda r, s, c: ({"u": 2 * r.u}, {}), reads=("u",), writes=("u",))
    keeping = replace(own, state=(StateSpec("m"),))
    assert kept_phase._question(layout(), (), 1) is not None
    for stage in (own, ep.stages.restart(keeping, every=3)):
        assert kept_phase._question(layout(ep.chain(stage, ep.stages.apply())), (), 1) is None
    with pytest.raises(kept_phase._ElsewhereError):
        kept_phase._function(double)


def test_a_function_of_ours_that_closes_over_anothers_is_not_kept():
    inner = ep.stages.second_moment().update

    def closes():
        return inner

    closes.__module__ = "equipoise.stages.moments"
    kept_phase._function(closes)
    for held in (double, [double], {"a": double}):
        inner = held
        with pytest.raises(kept_phase._ElsewhereError):
            kept_phase._function(closes)


@pytest.mark.parametrize("name", ["AdamW", "LAMB", "Ranger21", "SOAP", "Shampoo", "AdamS", "Muon", "Lion", "GSM"])
def test_the_packages_own_are_kept(name):
    optimizer = getattr(ep.optim, name)([torch.nn.Parameter(torch.zeros(3, 2))], lr=0.1)
    assert kept_phase._question(layout(optimizer._chains[0]), (), 1) is not None
