"""`equipoise train RECIPE`: train one recipe in a run folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from equipoise.cli.overrides import Overrides

if TYPE_CHECKING:
    from equipoise.recipes import Recipe
    from equipoise.train import RunResult

EXAMPLES = (
    "equipoise train gpt_python",
    "equipoise train gpt_python --steps 100 --optimizer adam --lr 1e-3 --run-dir runs/mine",
    "equipoise train gpt_python --set model.placement=pre_ln data.tokenizer=bpe",
    "equipoise train gpt_python --run-dir runs/mine --resume      # go on after Ctrl-C or a crash",
)


@dataclass
class Verb:
    """Train a recipe, watched and checkpointed. `equipoise list --kind recipe` shows all recipes."""

    recipe: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE")]
    """Name of a recipe, with changes if you like: gpt_python:optimizer=adam,lr=1e-3"""
    changes: Overrides = field(default_factory=Overrides)
    run_dir: Path | None = None
    """Folder of the run; the next free runs/RECIPE-N by default."""
    seed: int | None = None
    """Decides initial weights and data order."""
    resume: bool = False
    """Go on with the run in --run-dir from its newest checkpoint."""
    device: str = "cpu"
    """A torch device."""

    def run(self) -> int:
        """Train, say how it ended, and what the doctor found."""
        from equipoise._errors import ArgumentError
        from equipoise.recipes.named import named_recipe
        from equipoise.train import choose_progress, fit

        if self.resume and self.run_dir is None:
            raise ArgumentError("--run-dir", None, "the folder of the run to resume")
        recipe = self.changes.apply(self._resumed() or named_recipe(self.recipe))
        if self.seed is not None:
            recipe = recipe.with_(seed=self.seed)
        folder = self.run_dir or free_folder(recipe.name)
        print(f"{recipe.title}: {recipe.optimizer}, lr {recipe.lr:g}, weight decay {recipe.weight_decay:g} -> {folder}")
        try:
            result = fit(recipe, folder, resume=self.resume, progress=choose_progress(), device=self.device)
        except KeyboardInterrupt as stopped:
            words = f"equipoise train {recipe.name} --run-dir {folder} --resume"
            raise KeyboardInterrupt(f"{stopped or 'stopped'}; the run is readable. Go on with: {words}") from None
        return report_end(result)

    def _resumed(self) -> Recipe | None:
        """The recipe of the run to resume, so that its changes need not be typed again; None when it is another one."""
        from equipoise.train.folder import RunFolder

        if not self.resume or self.run_dir is None or ":" in self.recipe:
            return None
        present = RunFolder(self.run_dir).recipe()
        return present if present is not None and present.name == self.recipe.replace("-", "_") else None


def report_end(result: RunResult) -> int:
    """Print how a run ended and what to do next; 0 when it finished, 1 when it diverged."""
    from equipoise.doctor.diagnose import diagnose

    if result.status != "finished":
        print(f"stopped after {result.steps} steps: {result.message}")
        return 1
    accuracy = "" if result.val_accuracy is None else f", accuracy {result.val_accuracy:.1%}"
    print(f"done: {result.steps} steps in {result.seconds:.1f} s, held-out loss {result.val_loss:.4f}{accuracy}")
    found = diagnose(result.run_dir)
    for finding in found:
        print(f"  {finding.severity:<7}  {finding.symptom}")
    print(f"next: equipoise doctor {result.run_dir}   or   equipoise report {result.run_dir} -o page.html")
    return 0


def free_folder(name: str, root: Path = Path("runs")) -> Path:
    """The first of runs/NAME-1, runs/NAME-2, ... that is not there."""
    number = 1
    while (root / f"{name}-{number}").exists():
        number += 1
    return root / f"{name}-{number}"
