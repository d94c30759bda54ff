"""Foreign text stays text: in HTML, in plotly's labels and in JSON inside a script."""

from __future__ import annotations

import html
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.report.escape import label, row_names, script_json, short, short_names, visible

HOSTILE = st.text() | st.sampled_from(
    ["</script>", "<!--", "<script", "]]>", "\u2028\u2029", "%{x}", "&lt;", "a\ud800b"]
)


@given(HOSTILE)
def test_json_cannot_leave_its_script_element(text: str) -> None:
    written = script_json({"name": text, text: 1})
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written)["name"] == text


def test_json_refuses_nan_rather_than_writing_no_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json([math.nan])


@given(HOSTILE)
def test_a_label_shows_the_text_and_nothing_else(text: str) -> None:
    written = label(text)
    assert not set("<>%") & set(written)
    assert html.unescape(written) == visible(" ".join(text.split()))


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\u202e", "\u200b", "\ufeff", "\u2028", "\ud800", "\U000e0001"])
def test_invisible_characters_are_written_out(char: str) -> None:
    shown = visible(f"a{char}b")
    assert char not in shown
    assert shown.startswith("a\\")
    shown.encode("utf-8")


def test_ordinary_names_of_all_scripts_stay() -> None:
    assert visible("blöcke.0.重み — β₂") == "blöcke.0.重み — β₂"


@given(st.lists(st.text(min_size=1, max_size=40), unique=True), st.integers(min_value=4, max_value=20))
def test_short_names_are_short_and_different(names: list[str], limit: int) -> None:
    cut = short_names(names, limit)
    assert len(cut) == len(names)
    assert all(len(short(n, limit)) <= limit for n in names)
    assert len(set(cut)) == len(names)


@given(st.lists(st.text(st.sampled_from("ab.<%"), min_size=1, max_size=6).map(lambda t: t + ".weight"), unique=True))
def test_row_names_stay_different_and_harmless(names: list[str]) -> None:
    rows = row_names([*names, "a"], 20)
    assert len(set(rows)) == len(names) + 1 - ("a" in names)
    assert not set("<>%") & set("".join(rows))
    assert rows[-1].startswith("a")
