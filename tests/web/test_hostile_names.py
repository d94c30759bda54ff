"""Names from outside are shown, never run: with the page's policy in place, and without it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from equipoise.doctor import diagnose as diagnose_module
from equipoise.doctor.diagnose import Diagnosis
from equipoise.doctor.finding import Evidence, Finding, Remedy
from equipoise.doctor.store import RunStore
from equipoise.report import write_report
from web.conftest import Browser

pytestmark = pytest.mark.web

RUN = "document.documentElement.dataset.pwned=1"
HOSTILE = (
    f"<script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f'"><img src=x onerror="{RUN}">',
    f"<!--<script>{RUN}</script>-->",
    f"'-{RUN}-'",
    f"<svg onload={RUN}>",
    f'<a href="javascript:{RUN}">link</a>',
    "<b>bold</b><br>&amp;&lt;%{x}%{fullData.name}<extra>",
    "{{ 7*7 }}{% raw %}",
    "line\u2028separator \u202eright to left\x00 \x1b[31m",
    "]]></style><style>*{display:none}",
    "`${" + RUN + "}`",
)
PER_TENSOR = ("weight_norm", "predicted_weight_norm", "update_ratio", "attention_entropy", "stream_rms")
# Opens plotly's hover label of every chart: it shows names from the figures, through plotly's own small HTML.
HOVER = """<script>addEventListener("load", () => { const timer = setInterval(() => {
  if (document.documentElement.dataset.charts !== "drawn") return;
  clearInterval(timer);
  for (const plot of document.querySelectorAll(".plot")) {
    const first = (trace) => trace.type === "heatmap" ? [0, 0] : 0;
    const points = plot.data.map((trace, i) => ({curveNumber: i, pointNumber: first(trace)}));
    try { Plotly.Fx.hover(plot, points.filter((p) => plot.data[p.curveNumber].hoverinfo !== "skip")); }
    catch (error) { console.error(error); }
  }
  document.documentElement.dataset.hovered = document.querySelectorAll(".hovertext").length;
}, 100); });</script></body>"""


def make_hostile_run(folder: Path, label: str) -> Path:
    meta: dict[str, object] = {"label": label, "recipe": {"name": HOSTILE[0], "data": {"source": HOSTILE[1]}}}
    meta |= {text: text for text in HOSTILE} | {"predictions": {t: {"scale_invariant": False} for t in HOSTILE}}
    meta["timescale"] = {"steps": 1e4, "epochs": 2.0, "survival": 0.99}
    with RunStore.create(folder, meta) as store:
        for step in (1, 2, 3):
            for metric in ("loss", "val_loss", "lr", "logit_max"):
                store.write(step, metric, 3.0 / step)
            for name in HOSTILE:
                for metric in (
                    "weight_norm",
                    "predicted_weight_norm",
                    "update_ratio",
                    "attention_entropy",
                    "stream_rms",
                ):
                    store.write(step, metric, 1.0 + step, name)
        for text in HOSTILE:
            store.event(1, text, text)
    return folder


def make_hostile_comparison(folder: Path) -> Path:
    names = HOSTILE[:4]
    for i, name in enumerate(names):
        make_hostile_run(folder / f"run{i}", name)
    arms = [
        {"name": n, "label": n, "values": [2.0, 2.1], "mean": 2.05, "low": 1.9, "high": 2.2, "runs": [f"run{i}"]}
        for i, n in enumerate(names)
    ]
    gain = {"mean_difference": -0.5, "low": -0.6, "high": -0.4, "p_value": 0.01, "n": 2}
    paired = [{"arm": n, "baseline": names[0], **gain} for n in names[1:]]
    plain = {"metric": HOSTILE[5], "budget": {HOSTILE[6]: HOSTILE[7]}, "seeds": list(HOSTILE[:2]), "arms": arms}
    (folder / "comparison.json").write_text(json.dumps({**plain, "paired": paired, "note": HOSTILE[2]}))
    return folder


def hostile_finding(text: str) -> Finding:
    evidence = (Evidence(text, metric="weight_norm", tensor=text, value=1.0, step=1),)
    remedy = Remedy(text, code=text, recipe_fields={text: text})
    return Finding(text, "error", text, evidence, text, remedy, text, tensors=HOSTILE)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    findings = tuple(hostile_finding(t) for t in HOSTILE)
    answer = Diagnosis(findings, silent=tuple((t, t) for t in HOSTILE))
    monkeypatch.setattr(diagnose_module, "diagnose", lambda run: answer)
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    folder.mkdir()
    return write_report(make_hostile_comparison(folder), tmp_path / "page.html", title=HOSTILE[1])


def assert_harmless(dom: str) -> None:
    assert "data-pwned" not in dom
    assert not re.search(r"<img\b|<svg[^>]*onload|<b>|<a [^>]*javascript:|<a [^>]*xlink:href", dom)
    assert dom.count("<script") == dom.count("</script>")
    assert not set("\u2028\u202e\x00\x1b") & set(dom)


def test_names_are_shown_and_not_run(browser: Browser, page: Path) -> None:
    opened = browser.open(page)
    assert opened.console == []
    assert opened.charts == "drawn"
    assert_harmless(opened.dom)
    assert "{{ 7*7 }}" in opened.dom
    assert re.search(r"<text[^>]*>&lt;b&gt;bold&lt;/b&gt;", opened.dom)  # plotly shows the tag, it does not obey it
    assert "\\u202e" in opened.dom


def test_escaping_holds_without_the_policy_and_in_hover_labels(browser: Browser, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text).replace("</body>", HOVER)
    page.write_text(bare, encoding="utf-8")
    opened = browser.open(page)
    assert opened.console == []
    assert int(re.search(r'data-hovered="(\d+)"', opened.dom).group(1)) >= 10
    assert_harmless(re.sub(r"<script>.*?</script>", "", opened.dom, flags=re.DOTALL))


def test_an_escaping_hole_would_be_noticed(browser: Browser, page: Path) -> None:
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    text = re.sub(r'(id="plotly">)[^<]*', r"\1", text)  # charts are not the matter here, and take seconds
    head, body = text.split("<body>")
    escaped = f"&lt;script&gt;{RUN}&lt;/script&gt;"
    assert escaped in body
    page.write_text(f"{head}<body>{body.replace(escaped, HOSTILE[0])}", encoding="utf-8")
    assert "data-pwned" in browser.open(page).dom
