"""Colours: readable on the page, and apart for every kind of colour vision."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from equipoise.report.palette import COLOURS, SERIES, css, resolve

# Machado, Oliveira & Fernandes 2009, table 1, severity 1.0 (linear RGB)
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def _linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _contrast(a: str, b: str) -> float:
    low, high = sorted(float(_linear(c) @ TO_XYZ[1]) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


def _lab(colour: str, vision: str) -> np.ndarray:
    seen = np.clip(np.array(VISION[vision]) @ _linear(colour), 0, 1)
    x = TO_XYZ @ seen / np.array([0.9505, 1.0, 1.089])
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_on_the_page(scheme: str) -> None:
    colours = COLOURS[scheme]
    assert _contrast(colours["@ink"], colours["@paper"]) >= 12
    assert _contrast(colours["@muted"], colours["@paper"]) >= 4.5
    assert all(_contrast(colours[f"@s{i}"], colours["@paper"]) >= 3 for i in range(SERIES))


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_series_are_apart_for_every_vision(scheme: str, vision: str) -> None:
    labs = [_lab(COLOURS[scheme][f"@s{i}"], vision) for i in range(SERIES)]
    distances = [float(np.linalg.norm(a - b)) for a, b in itertools.combinations(labs, 2)]
    assert min(distances) >= 12  # a just noticeable difference is about 2.3


def test_tokens_are_colours_only_under_colour_keys() -> None:
    figure = {"y": ["@ink"], "marker": {"color": ["@s0", "@s1"]}, "name": "@s0", "colorscale": "@diverging"}
    done = resolve(figure, "light")
    assert (done["y"], done["name"]) == (["@ink"], "@s0")
    assert done["marker"]["color"] == [COLOURS["light"]["@s0"], COLOURS["light"]["@s1"]]
    assert done["colorscale"][0][0] == 0


def test_css_has_every_token_for_both_schemes() -> None:
    text = css()
    for token in COLOURS["light"]:
        assert text.count(f"--{token[1:]}: ") == 2
