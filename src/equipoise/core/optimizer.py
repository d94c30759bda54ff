"""Optimizer: the one torch.optim.Optimizer of the library. It runs chains over parameters; it holds no maths."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from equipoise._errors import ArgumentError
from equipoise.core import describe, enroll
from equipoise.core import groups as grouping
from equipoise.core import state_dict as loading
from equipoise.core.chain import Chain, complete
from equipoise.core.checks import check_choice
from equipoise.core.entry import Entry, RunnerChoice
from equipoise.core.finite import left_out
from equipoise.core.hyper import Schedules, advanced, peak_lr
from equipoise.core.measure import Measured, measured
from equipoise.core.observed import observed
from equipoise.core.roles import clean_name
from equipoise.core.rounding import MODES, SEED, rounded
from equipoise.core.runner_choice import RUNNERS, chosen, read_switches
from equipoise.core.select import Match
from equipoise.core.spread import Links
from equipoise.core.stepper import Stepper

Chains = Chain | Mapping[Match, Chain]
# By pickle and deepcopy.
_SAVED = "_asked _factory _state_dtype _skip_nonfinite skipped _given_chain _signatures _schedules _role_chains _choice"


class Optimizer(torch.optim.Optimizer):
    """Run a chain of stages over the parameters of a model.

    Args:
        params: a model (names, roles and decay groups are worked out and printed), or whatever torch.optim takes:
            parameters, named parameters, or groups with their own values.
        chain: the chain; with a model also a mapping {role, regex or predicate: chain}, first match wins.
        runner: "auto" (fused from 5 M parameters up, else blocked), "fused", "blocked" or "reference".
        rules: with a model, group options by role, regex or predicate, ahead of the default rule, which takes decay off
            norm gains, biases and other vectors: `rules={"embedding": {"weight_decay": 0.0}}`.
        roles: with a model, parameter name -> role word, for what detection gets wrong.
        peak_lr: learning rate that laws measure against; by default a scheduler's or the constructor's.
        state_dtype: dtype of new state tensors; the parameter's own by default.
        rounding: of 16-bit parameters: "nearest", "stochastic" (by `rounding_seed`) or "kahan": see `stages.rounding`.
        skip_nonfinite: leave out the whole step, counts and schedules included, when a gradient is infinite or NaN, and
            count it in `skipped`. One more pass over the gradients, and the device is waited for.
        maximize: step up the gradient.
        matrix_view: how matrices lie in tensors, for methods that see matrices: "rows" (the default), "batch" or
            "split:k", also as a key of a group or a rule.
        verbose: print who gets what; by default only when a model is given.
        factory, defaults: used by the ready optimizers: the function that makes a group's chain, and its values.
        switches: torch's foreach, fused, capturable, differentiable: accepted or refused by name.

    Raises:
        ArgumentError, ChainError, SelectionError: naming the argument, the value and the cure.
    """

    def __init__(
        self,
        params: grouping.Given,
        chain: Chains | None = None,
        *,
        runner: str = "auto",
        rules: grouping.Overrides | None = None,
        roles: Mapping[str, str] | None = None,
        peak_lr: float | None = None,
        state_dtype: torch.dtype | None = None,
        rounding: str = "nearest",
        rounding_seed: int = 0,
        skip_nonfinite: bool = False,
        maximize: bool = False,
        matrix_view: str | None = None,
        verbose: bool | None = None,
        factory: Callable[..., Chain] | None = None,
        defaults: Mapping[str, Any] | None = None,
        **switches: object,
    ) -> None:
        check_choice("runner", runner, RUNNERS)
        self._asked = read_switches(switches, runner)
        check_choice("rounding", rounding, MODES)
        self._factory, self._state_dtype, self._skip_nonfinite, self.skipped = factory, state_dtype, skip_nonfinite, 0
        self._given_chain = None if factory or isinstance(chain, Mapping) else enroll.as_chain(chain)
        self._chains: list[Chain] = []
        self._signatures: list[object] = []
        self._schedules: list[Schedules] = []
        self._names: dict[int, str] = {}
        self._choice: RunnerChoice | None = None
        self._stepper: Stepper | None = None
        self._links: tuple[Links | None] | None = None
        self._measure, self.measured = False, dict[str, Measured]()
        self._roles, groups, self._role_chains = grouping.groups_of(params, chain, rules, roles)
        base = defaults if defaults is not None else self._given_chain.hyper if self._given_chain else {}
        words = {"rounding": rounding, SEED: rounding_seed} if rounding != "nearest" else {}
        words |= {"matrix_view": matrix_view} if matrix_view is not None else {}
        super().__init__(groups, {"lr": None, **base, **words, "peak_lr": peak_lr, "maximize": maximize})
        if verbose or (verbose is None and isinstance(params, nn.Module)):
            sys.stderr.write(self.summary() + "\n")

    # ---- groups and their chains ----------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters later; keys that the group lacks take the optimizer's defaults."""
        index = len(self.param_groups)
        own = self._role_chains[index] if index < len(self._role_chains) else None
        super().add_param_group({**(own.hyper if own else {}), **grouping.unpack(param_group)})
        group = self.param_groups[-1]
        try:
            self._enroll(group, own)
            enroll.warn_of_slips(param_group.keys() - self.defaults.keys(), group, self._chains[-1])
        except Exception:
            del self.param_groups[index:], self._schedules[index:], self._chains[index:], self._signatures[index:]
            raise
        self._stepper = self._links = None

    def _enroll(self, group: dict[str, Any], own: Chain | None) -> None:
        if group.get("lr") is None:
            raise ArgumentError("lr", None, "a learning rate", "Give it to the chain, or as a key of the param group.")
        chain = self._chain_of(group, own)  # its factory checks the values
        self._chains.append(chain)
        self._schedules.append(Schedules(group))
        group.setdefault("constructor_lr", float(group["lr"]))
        self._signatures.append(enroll.signature_of(group, enroll.options_of(self._factory, chain)))
        enroll.check_parameters(group, chain)
        if chain.needs_peak_lr and not peak_lr(group):
            raise ArgumentError(
                "peak_lr", peak_lr(group), "a positive learning rate", "Pass peak_lr=; it scales the decay."
            )
        names = group.get("param_names") or [
            f"group{len(self.param_groups) - 1}.{i}" for i in range(len(group["params"]))
        ]
        self._names |= {id(p): clean_name(name) for p, name in zip(group["params"], names, strict=True)}

    def _chain_of(self, group: dict[str, Any], own: Chain | None = None) -> Chain:
        made, factory = own or self._given_chain, self._factory
        if factory is not None:
            values = {key: value for key, value in group.items() if key in signature(factory).parameters}
            if "betas" in group:
                values["beta1"], values["beta2"] = group["betas"]
            made = factory(**values)
        if made is None:
            raise ArgumentError("param group", "no chain", "one chain for all groups", "Make a new Optimizer for it.")
        return rounded(complete(made), group.get("rounding", "nearest"))

    def _follow_groups(self) -> None:
        """Rebuild a group's chain when a value that decides its structure was changed."""
        for i, group in enumerate(self.param_groups):
            now = enroll.signature_of(group, enroll.options_of(self._factory, self._chains[i]))
            if now != self._signatures[i]:
                self._signatures[i] = now
                made = self._chain_of(group) if self._factory is not None else self._chains[i]
                if made != self._chains[i]:
                    self._chains[i], self._stepper = made, None

    # ---- what it is -----------------------------------------------------------------------------------------------

    @property
    def method(self) -> str:
        """The public name of the method: "adamw", "sgd", ...; "chain" when composed by hand, "mixed" for several."""
        names = {chain.name for chain in self._chains}
        return names.pop() if len(names) == 1 else "mixed"

    @property
    def runner(self) -> RunnerChoice:
        """The runner and why. Decided on first use and saved with the groups: a resumed run keeps it, bit for bit."""
        if self._choice is None:
            self._choice = chosen(self._asked, self.param_groups)
        return self._choice

    def group_chain(self, group: dict[str, Any]) -> Chain:
        """The chain that steps a param group."""
        for own, chain in zip(self.param_groups, self._chains, strict=True):
            if own is group:
                return chain
        raise ArgumentError("group", "a dict that is not in param_groups", "one of optimizer.param_groups")

    def recipe(self) -> str:
        """Every group's chain in words, with its hyper-parameters."""
        return describe.recipe_text(self.param_groups, self._chains)

    def plan(self) -> str:
        """One line per parameter: shape, role, group, lr, decay and the runner that steps it."""
        return describe.plan_table(self._entries(), self.param_groups, self.runner)

    def summary(self) -> str:
        """One line per role and group: who gets what."""
        return describe.summary_table(self._entries(), self.param_groups, self.runner)

    def state_of(self, name: str) -> dict[str, dict[str, Tensor]]:
        """A parameter's state by part: `state_of("head.weight")["adam"]["exp_avg"]`. The tensors are the live ones."""
        entry = enroll.named(self._entries(), name)
        return enroll.nested_state(entry, self.state.get(entry.parameter, {}))

    def _entries(self) -> list[Entry]:
        return enroll.entries_of(self.param_groups, self._chains, self._names, self._roles)

    @property
    def links(self) -> Links | None:
        """Links to the processes that hold the other parts of the parameters; None where this one holds everything."""
        if self._links is None:  # a tuple once it is known, since there may be none
            self._links = (enroll.links_between(self._entries()),)
        return self._links[0]

    # ---- stepping -------------------------------------------------------------------------------------------------

    profile_hook_step = staticmethod(observed)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step for every parameter that has a gradient. A closure is called first, with gradients on."""
        loss = torch.enable_grad()(closure)() if closure is not None else None
        self._step()
        return loss

    @_disable_dynamo  # torch.compiler.disable would import Dynamo with this module; this waits for a step
    def _step(self) -> None:
        if (links := self.links) is not None:
            links.begin_step()
        if self._skip_nonfinite and self._skips():
            return
        self._follow_groups()
        with advanced(self._schedules, self.param_groups):
            if self._stepper is None or not self._stepper.intact(self.state):
                for group in self.param_groups:
                    group["runner"] = self.runner.name
                made = (self._entries(), self.param_groups, self.state, self.runner, self._state_dtype, self.links)
                self._stepper = Stepper(*made)
            sums = self._stepper.step(measured=self._measure)
        if self._measure:
            self._measure, self.measured = False, {name: measured(five) for name, five in sums.items()}

    def measure(self) -> None:
        """Measure the coming step: `measured` then holds what it did to every parameter, by name.

        A measured step costs a tenth to a third more; its compiled kernel is another one, so that other steps pay
        nothing, and its results may differ from theirs in the last bit.
        """
        self._measure = True

    def _skips(self) -> bool:
        gradients = {self._names[id(p)]: p.grad for group in self.param_groups for p in group["params"]}
        self.skipped += (skips := left_out(gradients, self.links, first=self.skipped == 0))
        return skips

    # ---- saving and loading ---------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Torch's format. State of whole matrices that other processes hold is fetched: all must call this together.

        Of very large models save with `equipoise.dist.save`, which leaves every part where it is.
        """
        if self._stepper is not None:
            self._stepper.check_whole(self.state)
        saved = super().state_dict()
        return saved if self.links is None else loading.with_free_state(saved, self._entries(), self.links)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load torch's format: our own checkpoints and those of the torch.optim namesake.

        Parameters are matched by name when both sides have names, else by order. State keeps its saved dtype. Nothing
        is changed when the checkpoint does not fit.

        Raises:
            StateError: names, counts, shapes or state tensors that do not fit; the message names them.
        """
        state_dict = dict(state_dict)
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            state_dict = hook(self, state_dict) or state_dict
        loaded = loading.read(state_dict, self._entries(), self.param_groups, self.links)
        for group, values in zip(self.param_groups, loaded.options, strict=True):
            group.update(values)
        self.state.clear()
        self.state.update(loaded.state)
        self._stepper = self._choice = None
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        """As torch's: no hooks and no plans. Chains that a factory made are made again, so they need not be saved."""
        chains = None if self._factory is not None else self._chains
        words = {key: enroll.by_parameter(self.param_groups, getattr(self, key)) for key in ("_names", "_roles")}
        own = {key: getattr(self, key) for key in _SAVED.split()}
        return {**super().__getstate__(), **own, "_chains": chains, **words}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._names, self._roles = (enroll.by_id(self.param_groups, state[key]) for key in ("_names", "_roles"))
        self._stepper, self._links, self._measure, self.measured = None, None, False, {}
        if state["_chains"] is None:
            self._chains = [self._chain_of(group) for group in self.param_groups]
