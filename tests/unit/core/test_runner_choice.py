"""The runner is chosen once; a missing compiler is said once, with the cure."""

import warnings

import pytest
import torch
from torch import nn

import equipoise as ep
from equipoise.core import runner_choice
from equipoise.core.runner_choice import FUSED_FROM, choose


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/g++")
    from torch._inductor import cpp_builder

    def missing():
        raise RuntimeError("No working C++ compiler found in CXX=/nowhere/g++")

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)


def test_small_models_run_in_slices_and_large_ones_compiled(require):
    require("compiler")
    cpu = torch.device("cpu")
    assert choose("auto", FUSED_FROM - 1, cpu).name == "blocked"
    assert choose("auto", FUSED_FROM, cpu).name == "fused"
    assert choose("fused", 1, cpu).name == "fused"


def test_a_missing_compiler_is_one_warning_with_the_cure(no_compiler):
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler.*apt-get install g\+\+"):
        choice = choose("auto", FUSED_FROM, torch.device("cpu"))
    assert choice.name == "blocked"
    p = nn.Parameter(torch.ones(3))
    optimizer = ep.optim.AdamW([p], runner="fused")
    p.grad = torch.ones_like(p)
    with pytest.warns(UserWarning, match="compiler"):
        optimizer.step()
    for _ in range(2):
        optimizer.step()  # warnings are errors: a second one would fail here
    assert "blocked" in optimizer.plan()


def test_the_environment_turns_compilation_off_without_a_warning(monkeypatch):
    monkeypatch.setenv("EQUIPOISE_COMPILE", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choice = choose("auto", FUSED_FROM, torch.device("cpu"))
    assert (choice.name, "EQUIPOISE_COMPILE=0" in choice.why) == ("blocked", True)


def test_torchs_fused_switch_asks_for_the_fused_runner():
    assert runner_choice.read_switches({"fused": True}, "auto") == "fused"
    assert runner_choice.read_switches({"fused": False}, "auto") == "blocked"
    assert runner_choice.read_switches({"fused": None}, "auto") == "auto"


def test_tiny_and_broadcast_tensors_go_to_the_reference_runner():
    parameters = [
        nn.Parameter(torch.ones(())),
        nn.Parameter(torch.ones(1)),
        nn.Parameter(torch.ones(4)),
        nn.Parameter(torch.empty(0)),
    ]
    lines = ep.optim.AdamW(parameters).plan().splitlines()[2:6]
    assert [line.split()[-1] for line in lines] == ["reference", "reference", "blocked", "reference"]


def test_a_slice_may_end_anywhere():
    from equipoise.core.run_blocked import BLOCK

    for numel in (BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7):
        outcomes = []
        for runner in ("reference", "blocked"):
            torch.manual_seed(numel)
            p = nn.Parameter(torch.randn(numel))
            optimizer = ep.optim.AdamW([p, nn.Parameter(torch.ones(1))], lr=0.1, runner=runner)
            for _ in range(2):
                p.grad = torch.randn(numel)
                optimizer.step()
            outcomes.append(p.detach())
        assert torch.allclose(*outcomes, rtol=0, atol=1e-6)


def most_allocated(optimizer):
    """Bytes that a step allocates at most at one time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        optimizer.step()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = [0]
    for event in sorted(events, key=lambda e: e.start_ns()):
        live.append(live[-1] + event.nbytes())
    return max(live)


def test_scratch_is_allocated_once():
    """After the first step, blocked allocates nothing as large as a parameter; reference does, which is seen."""
    p = nn.Parameter(torch.randn(300_000))
    p.grad = torch.randn_like(p)
    size, most = p.numel() * 4, {}
    for runner in ("blocked", "reference"):
        optimizer = ep.optim.AdamW([p], runner=runner)
        optimizer.step()
        most[runner] = most_allocated(optimizer)
    assert most["blocked"] < size / 10
    assert most["reference"] > size
