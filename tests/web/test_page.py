"""The page in a real browser: every chart drawn, nothing on the console, in both schemes and at a phone's width."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from equipoise.report import write_report
from web.conftest import Browser, Opened
from web.made_runs import make_comparison

pytestmark = pytest.mark.web

EXPECTED = (
    "comparison-arms", "comparison-pairs", "loss", "val_loss", "lr", "grad_norm_total", "timescale",
    "settled-weight_norm-0", "settled-rotation-1", "course-weight_norm-0", "weight_norm-0", "update_ratio-2",
    "attention_entropy-0", "attention_max_logit-1", "profile-stream_rms", "logit_max", "logit_range", "log_partition",
)  # fmt: skip
# Records what only a running page knows; it needs the policy out of the way.
PROBE = """<script>addEventListener("load", () => setInterval(() => {
  const root = document.documentElement;
  if (root.dataset.charts !== "drawn") return;
  root.dataset.width = root.scrollWidth;
  root.dataset.ink = getComputedStyle(document.body).color;
  root.dataset.tick = getComputedStyle(document.querySelector(".xtick text")).fill;
}, 100));</script></body>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return write_report(make_comparison(folder / "compared"), folder / "page.html")


def probed(page: Path) -> Path:
    """The same page without its policy, and with the probe."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    target = page.with_name("probed.html")
    target.write_text(text.replace("</body>", PROBE), encoding="utf-8")
    return target


def plots(opened: Opened) -> dict[str, str]:
    """Chart key -> the HTML from its place to the next caption."""
    return dict(re.findall(r'<div class="plot[^"]*" id="chart-([\w-]+)"(.*?)<figcaption>', opened.dom, flags=re.DOTALL))


def test_every_expected_chart_is_drawn_and_the_console_is_silent(browser: Browser, page: Path) -> None:
    opened = browser.open(page)
    assert opened.console == []
    assert opened.charts == "drawn"
    drawn = plots(opened)
    assert set(EXPECTED) <= set(drawn)
    for key, html in drawn.items():
        assert 'class="main-svg"' in html, f"chart {key} is empty"
    assert 'id="no-charts" class="notice" hidden' in opened.dom
    assert drawn["weight_norm-0"].count("<image") == 1  # the heat map itself
    assert "fill: rgb(93, 98, 107)" in drawn["loss"]  # ticks in the light scheme's colour
    assert drawn["loss"].count('class="trace scatter') == 9


def test_dark_scheme_at_a_phones_width(browser: Browser, page: Path) -> None:
    dark = "--blink-settings=preferredColorScheme=0"
    opened = browser.open(probed(page), dark, width=500)  # as narrow as a headless window gets
    told = dict(re.findall(r'data-(width|ink|tick)="([^"]*)"', opened.dom[:2000]))
    assert int(told["width"]) <= 500, "the page scrolls sideways"
    assert told["ink"] == "rgb(232, 230, 225)"
    assert told["tick"] == "rgb(162, 167, 176)"  # charts follow the scheme


def test_a_broken_page_would_be_noticed(browser: Browser, page: Path, tmp_path: Path) -> None:
    """The faults that the tests above must catch: bad figures, a script the policy does not name, a request."""
    foreign = (
        '<script>document.documentElement.dataset.foreign = 1</script><img src="https://example.org/x.png"></body>'
    )
    text = page.read_text(encoding="utf-8").replace('{"schemes":', '{"skemes":').replace("</body>", foreign)
    broken = tmp_path / "broken.html"
    broken.write_text(text, encoding="utf-8")
    opened = browser.open(broken)
    assert opened.charts == "failed"
    assert re.search(r'id="no-charts" class="notice" ?>', opened.dom)
    assert "data-foreign" not in opened.dom
    assert sum("Content Security Policy" in line for line in opened.console) == 2
    assert any("TypeError" in line for line in opened.console)
