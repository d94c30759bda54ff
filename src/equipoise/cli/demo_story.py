"""The demo's four acts: a mistake, its diagnosis, the cure, the proof."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise._errors import RunError
from equipoise.cli.compare import p_text, print_comparison
from equipoise.cli.demo_plan import Plan, make_plan
from equipoise.cli.terminal import open_console, print_finding, print_table
from equipoise.doctor.diagnose import diagnose
from equipoise.doctor.store import RunStore
from equipoise.recipes import Recipe, gpt_python
from equipoise.train import Comparison, PairedDifference, choose_progress, compare, fit, paired_difference
from equipoise.train.atomic import read_json, write_json
from equipoise.train.comparison import FILE, arm_names
from equipoise.train.progress import clock

if TYPE_CHECKING:
    from rich.console import Console

    from equipoise.doctor.finding import Finding

ARMS = 3


def tell(out: Path, seeds: Sequence[int], steps: int | None, threads: int) -> int:
    """Run the demo in `out`; 0 when the doctor found the mistake and every run finished."""
    import torch

    torch.set_num_threads(threads)
    begun, console, progress = time.perf_counter(), open_console(), choose_progress()
    mistake = the_mistake()
    plan = _plan(out, mistake, ARMS * len(seeds), steps)
    mistake = replace(mistake, steps=plan.steps)
    _introduce(console, mistake, plan, seeds)

    _act(console, 1, "Train with the mistake")
    console.print(f"optimizer = Adam(model, lr={mistake.lr:g}, weight_decay={mistake.weight_decay:g})", markup=False)
    first = out / "runs" / arm_names([mistake])[0] / f"seed-{seeds[0]}"
    result = fit(replace(mistake, seed=seeds[0]), first, resume=True, progress=progress)
    if result.val_loss is None:
        raise RunError(f"the demo's first run stopped: {result.message}")
    console.print(f"held-out loss {result.val_loss:.4f} nats per byte after {result.steps} steps.\n")

    _act(console, 2, "Ask the doctor")
    finding = find_remedy(first)
    if finding is None:
        console.print("The doctor found nothing to cure in this run; the demo ends here.")
        return 1
    print_finding(console, finding)

    _act(console, 3, "Apply the remedy, train again, and once more without any decay")
    arms = the_arms(mistake, finding)
    console.print(f"recipe change: {_changes(arms[0], arms[1])}\n", markup=False)
    found = compare(arms, seeds=seeds, out_dir=out / "runs", progress=progress)

    _act(console, 4, "What it changed")
    print_comparison(console, found)
    console.print()
    for line in verdict(found):
        console.print(line, markup=False)
    console.print()
    _explain(console, out / "runs" / found.arms[1].runs[0])
    return _page(console, out, begun)


def the_mistake() -> Recipe:
    """The recipe with `Adam(weight_decay=0.1)`: as in torch, that decay is an L2 term inside the adaptive gradient."""
    return gpt_python().with_(
        optimizer="adam", label="Adam, decay 0.1 (the mistake)", eval_every=50, checkpoint_every=10_000
    )


def find_remedy(run_dir: Path) -> Finding | None:
    """The worst finding of a run whose remedy is a change of the recipe; information does not count."""
    found = diagnose(run_dir)
    return next((f for f in found if f.severity != "info" and f.remedy.recipe_fields), None)


def the_arms(mistake: Recipe, finding: Finding) -> list[Recipe]:
    """The mistake, the same with the finding's remedy, and the remedy without decay."""
    cured = mistake.with_(**finding.remedy.recipe_fields)
    name = {"adamw": "AdamW"}.get(cured.optimizer, cured.optimizer)
    label = f"{name}, decay {cured.weight_decay:g}"
    return [
        mistake,
        replace(cured, label=f"{label} (the remedy)"),
        replace(cured, weight_decay=0.0, label=f"{name}, decay 0"),
    ]


def verdict(found: Comparison) -> list[str]:
    """In words: what the remedy did, and whether its decay did anything."""
    mistake, remedy, bare = (arm.values for arm in found.arms)
    cure, decay = _difference(remedy, mistake), _difference(remedy, bare)
    lines = [_sentence("The remedy", cure), _sentence("Its decay, against none at all,", decay)]
    if cure is not None and decay is not None and cure.mean:
        lines[1] += f" That is {abs(decay.mean / cure.mean):.1%} of the remedy's effect."
    return lines


def _difference(a: Sequence[float | None], b: Sequence[float | None]) -> PairedDifference | None:
    """The paired difference over the seeds that both finished; None without any."""
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return paired_difference([x for x, _ in both], [y for _, y in both]) if both else None


def _sentence(what: str, found: PairedDifference | None) -> str:
    if found is None or found.low is None or found.high is None:
        return f"{what} cannot be judged: it takes at least two seeds that finish."
    size = f"95 % interval {found.low:+.4f} to {found.high:+.4f}, p {_relation(found.p_value)}, {found.n} pairs"
    if found.low <= 0 <= found.high:
        return f"{what} makes no difference that {found.n} seeds can show: {found.mean:+.4f} ({size})."
    verb = "lowers" if found.mean < 0 else "raises"
    return f"{what} {verb} the held-out loss by {abs(found.mean):.4f} nats per byte ({size})."


def _relation(p_value: float | None) -> str:
    text = p_text(p_value)
    return text if text.startswith("<") else f"= {text}"


def prediction_rows(run_dir: Path, most: int = 4) -> list[tuple[str, ...]]:
    """Tensor, norm measured and predicted, turn per step measured and predicted (mrad), at the last common sample."""
    with RunStore.open(run_dir) as run:
        tested = run.meta.get("scale_invariant")
        invariant = {name for name, whole in tested.items() if whole} if isinstance(tested, dict) else set()
        names = [name for name in run.tensors("predicted_weight_norm") if name in invariant]
        count = min(most, len(names))
        spread = [names[round(i * (len(names) - 1) / max(1, count - 1))] for i in range(count)]
        metrics = ("weight_norm", "predicted_weight_norm", "rotation", "predicted_rotation")
        return [
            (name.removesuffix(".weight"), *(_number(run.last(metric, name), metric) for metric in metrics))
            for name in spread
        ]


def _number(value: float | None, metric: str) -> str:
    if value is None:
        return "–"
    return f"{1000 * value:.1f}" if "rotation" in metric else f"{value:.2f}"


def _explain(console: Console, cured: Path) -> None:
    """The cured run: theory beside measurement, and what the doctor says of it."""
    rows = prediction_rows(cured)
    if rows:
        console.print("Theory beside measurement, in the cured run's scale-invariant weights:")
        heads = ("tensor", "norm", "predicted", "turn, mrad/step", "predicted")
        print_table(console, heads, rows, right=1)
        console.print()
    console.print("The doctor on the cured run:")
    found = diagnose(cured)
    for finding in found:
        print_finding(console, finding)
    if not len(found):
        console.print("nothing found.\n")


def _page(console: Console, out: Path, begun: float) -> int:
    from equipoise.report import write_report

    page = write_report(out / "runs", out / "demo.html", title="equipoise demo")
    console.print(f"page: {page}", markup=False)
    console.print(f"took {clock(time.perf_counter() - begun)}", style="dim")
    return 0


def _plan(out: Path, recipe: Recipe, runs: int, steps: int | None) -> Plan:
    """The plan of a demo that was stopped here, or a fresh one; what a finished demo left is cleared away."""
    path = out / "plan.json"
    there = read_json(path)
    if there is not None and (out / "runs" / FILE).exists():
        shutil.rmtree(out / "runs")
        there = None
    if there is not None and steps in (None, there["steps"]):
        return Plan(**there)  # pyright: ignore[reportArgumentType]
    if there is not None:
        raise RunError(
            f"{str(out)!r} holds a stopped demo of {there['steps']} steps. Leave --steps out, or give another --out."
        )
    plan = make_plan(recipe, runs, steps)
    write_json(path, asdict(plan))
    return plan


def _introduce(console: Console, recipe: Recipe, plan: Plan, seeds: Sequence[int]) -> None:
    runs = ARMS * len(seeds)
    console.print("equipoise demo", style="bold")
    console.print(
        f"{runs} runs of {plan.steps} steps: a GPT of 0.87 M parameters on Python's own sources, "
        f"{ARMS} optimizer settings, {len(seeds)} seeds each."
    )
    console.print(f"About {clock(plan.seconds)} on this machine (timed just now).\n", style="bold")


def _act(console: Console, number: int, title: str) -> None:
    console.rule(f"{number}  {title}", align="left", style="dim")


def _changes(before: Recipe, after: Recipe) -> str:
    old, new = before.to_dict(), after.to_dict()
    return ", ".join(f"{k}: {old[k]} -> {new[k]}" for k in new if k != "label" and old[k] != new[k])
