"""Adam's eps swallows the denominator: a tensor's steps are shorter than the learning rate says.

Source: Wortsman et al., arXiv 2309.14322 section 3.4; Everett et al., arXiv 2407.05872. |u| shrinks by
sqrt(v)/(sqrt(v)+eps): 9 % at sqrt(v) = 10 eps, half at sqrt(v) = eps.
Rule: eps_underflow > 50 % of a matrix's coordinates (its median is under 10 eps) in 3 of the last 5 samples.
"""

import statistics

from equipoise._card import method
from equipoise.doctor.finding import Evidence, Finding, Remedy
from equipoise.doctor.persistence import held_at, holds_at_end
from equipoise.doctor.run_facts import CannotTellError, RunFacts, short
from equipoise.scaling.inversion import eps_for_denominator

BAD = 0.5


@method(kind="rule", paper="2309.14322", equations="section 3.4", scope="tensor", see_also=("eps_underflow",))
def adam_eps_too_large(run: RunFacts) -> list[Finding]:
    """Warning that names the tensors and the eps to use."""
    if run.groups and all(g.family != "adam" for g in run.groups):
        raise CannotTellError("the optimizer has no eps in a denominator")
    table = run.table("eps_underflow", "train under equipoise.watch with an Adam-type optimizer")
    # Vectors are left out: a key bias, say, has no gradient at all in softmax attention.
    matrices = {name for name, p in run.parameters.items() if p.is_matrix}
    guilty = {n: c for n, c in table.items() if n in matrices and holds_at_end([v > BAD for v in c[1]])}
    if not guilty:
        return []
    roots = [values[-1] for values in (run.find("denominator", name)[1] for name in guilty) if values]
    eps = max(run.groups[run.parameters[name].group].eps for name in guilty)
    new = eps_for_denominator(median_root=min(roots, default=eps), eps=eps)
    evidence = [
        Evidence(f"{n}: {100 * c[1][-1]:.0f} % of coordinates under 10 eps", "eps_underflow", n, c[1][-1], c[0][-1])
        for n, c in list(guilty.items())[:4]
    ]
    typical = statistics.median(roots) if roots else float("nan")
    evidence.append(Evidence(f"median sqrt(v) {short(typical)} against eps {short(eps)}", "denominator", "", typical))
    shrink = typical / (typical + eps)
    text = (
        f"Set eps={new:.1g} (1 % of the smallest median denominator); steps are now {100 * (1 - shrink):.0f} % short."
    )
    first = held_at([v > BAD for v in next(iter(guilty.values()))[1]]) or 0
    return [
        Finding(
            "adam_eps_too_large",
            "warning",
            f"eps dominates Adam's denominator in {len(guilty)} of {len(matrices)} matrices.",
            tuple(evidence),
            "Gradients are smaller than eps, so the update is g / eps instead of a normalised step: these layers "
            "barely move.",
            Remedy(text, code=run.code(run.optimizer or "AdamW", eps=new), recipe_fields={"eps": new}),
            "arXiv 2309.14322 section 3.4; the 50 % share follows from the 9 % loss of step at 10 eps",
            tuple(guilty),
            next(iter(guilty.values()))[0][first],
        )
    ]
