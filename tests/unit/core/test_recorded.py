"""What a compiled phase calls is found out without running it; a size that it does not take is an error."""

import pytest
import torch

import equipoise as ep
from equipoise.core import kernels, recorded
from equipoise.core.trace import Layout

PLAIN = torch.float32


def kernel(require, name="SGDW"):
    require("compiler")
    chain = getattr(ep.optim, name)([torch.nn.Parameter(torch.zeros(3, 2))], lr=0.1)._chains[0]
    state = tuple(PLAIN for _ in chain.kernel_keys())
    return kernels.kernel_for(Layout(chain, 1, PLAIN, PLAIN, state, torch.device("cpu")), length=1)


def sizes(kernel, numel):
    count = 2 + len(kernel.layout.state_dtypes)
    width = kernel.layout.width
    return [((numel,), (1,), PLAIN)] * count + [((1, width), (width, 1), PLAIN)]


@pytest.mark.compile
def test_a_record_names_inputs_and_sizes(require):
    made = kernel(require)
    assert made.phase is not None
    for numel in (1000, 77):
        ((_, arguments),) = made.phase.wrapper.record(sizes(made, numel)).calls
        assert recorded.Argument(None, numel) in arguments
        assert {a.of for a in arguments if a.of is not None} == {0, 1, 2, 3}
        assert made.phase.wrapper.record(sizes(made, numel)).memory == 0


@pytest.mark.compile
def test_the_wrappers_own_checks_are_run(require):
    made = kernel(require)
    assert made.phase is not None
    wrong = sizes(made, 1000)
    wrong[1] = ((999,), (1,), PLAIN)
    with pytest.raises(AssertionError, match="999"):
        made.phase.wrapper.record(wrong)


def test_code_that_does_more_than_call_kernels_is_not_taken():
    def call(args):
        (x,) = args
        args.clear()
        return tuple(torch.sort(x))

    with pytest.raises(recorded._MoreError, match="sort"):
        recorded._wrapper(call)


def test_a_function_that_nobody_knows_is_not_taken_for_one_that_computes():
    def call(args):
        (x,) = args
        checked(x)  # noqa: F821
        return (x,)

    with pytest.raises(LookupError, match="checked"):
        recorded._wrapper(call)


@pytest.mark.parametrize("name", ["sorted_by", "math"])
def test_a_name_that_nobody_gave_is_found_before_it_is_run(name):
    with pytest.raises(LookupError, match=name):
        recorded.Wrapper(f"def call(args):\n    (x,) = args\n    return ({name}.pi, x)", {})


@pytest.mark.compile
@pytest.mark.parametrize("move", ["parameter", "state"])
def test_tensors_that_were_moved_are_found_again(require, move):
    require("compiler")
    made = []
    for runner in ("reference", "fused"):
        p = torch.nn.Parameter(torch.linspace(-1, 1, 600).view(30, 20))
        optimizer = ep.optim.SGDW([p], lr=0.1, momentum=0.9, runner=runner)
        for step in range(4):
            p.grad = torch.cos(p.detach() * (step + 1))
            optimizer.step()
            if step == 1:
                moved = p if move == "parameter" else next(v for v in optimizer.state[p].values() if v.ndim == 2)
                moved.data = moved.data.clone()
        made.append((p.detach(), next(v for v in optimizer.state[p].values() if v.ndim == 2)))
    torch.testing.assert_close(*made, rtol=0, atol=1e-6)


def test_code_that_is_not_understood_is_called_as_it_is_which_is_said_once(capfd):
    for _ in range(2):
        assert recorded.wrapper_of(lambda *tensors: tensors, [torch.zeros(2)]) is None
    assert capfd.readouterr().err.count("called from Python") == 1
