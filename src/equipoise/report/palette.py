"""The page's colours, for a light and a dark page.

Figures never hold a colour but a token (`@ink`, `@s0`); the page puts in the colour of the reader's scheme. The six
series colours were picked for contrast (>= 3:1 on the page) and distance under the three colour blindnesses; a test
measures both. Where colour carries meaning, a word, a symbol or a dash says the same.
"""

from __future__ import annotations

from typing import Literal

Scheme = Literal["light", "dark"]

SERIES = 6
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "cross", "x")

_DIVERGING_LIGHT = ["#0B4A6F", "#3E86B0", "#A9CCE0", "#F4F1EA", "#F3C49B", "#CE7A35", "#7E3A08"]
_DIVERGING_DARK = ["#BFE3FA", "#62A9D8", "#2B587A", "#24272D", "#7A4520", "#D98A4B", "#FFE0C2"]
# cividis: even in lightness, made for red-green blindness
_SEQUENTIAL = ["#00204D", "#213D6B", "#555B6C", "#7B7A77", "#A59C74", "#D3C064", "#FFE945"]

Colour = str | list[tuple[float, str]]


def _scale(colours: list[str]) -> list[tuple[float, str]]:
    last = len(colours) - 1
    return [(round(i / last, 4), c) for i, c in enumerate(colours)]


COLOURS: dict[Scheme, dict[str, Colour]] = {
    "light": {
        "@paper": "#FCFBF8",
        "@ink": "#1F2226",
        "@muted": "#5D626B",
        "@grid": "#E4E1D9",
        "@s0": "#17608F",
        "@s1": "#A83A12",
        "@s2": "#1B8A58",
        "@s3": "#C94FB4",
        "@s4": "#A07C00",
        "@s5": "#26282C",
        "@diverging": _scale(_DIVERGING_LIGHT),
        "@sequential": _scale(_SEQUENTIAL),
    },
    "dark": {
        "@paper": "#15171B",
        "@ink": "#E8E6E1",
        "@muted": "#A2A7B0",
        "@grid": "#30343B",
        "@s0": "#4BA0EE",
        "@s1": "#EB8A57",
        "@s2": "#66F0C6",
        "@s3": "#F2438F",
        "@s4": "#E2CA33",
        "@s5": "#A6ABB9",
        "@diverging": _scale(_DIVERGING_DARK),
        "@sequential": _scale(_SEQUENTIAL),
    },
}

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"


def series(arm: int) -> str:
    """The colour token of an arm."""
    return f"@s{arm % SERIES}"


def dash(arm: int) -> str:
    """The dash of an arm: it changes once the colours have been used up, so that no two of 36 arms look alike."""
    return DASHES[(arm // SERIES) % len(DASHES)]


def width(arm: int, arms: int) -> float:
    """The line width of an arm: later arms are drawn over earlier ones, so they are thinner, and equal curves show."""
    return 1.2 + min(1.1, 3.3 / max(arms, 1)) * max(0, arms - 1 - arm)


def symbol(arm: int) -> str:
    """The marker of an arm."""
    return SYMBOLS[arm % len(SYMBOLS)]


def css() -> str:
    """The same colours as CSS variables, for both schemes; print is always light."""
    light, dark = (" ".join(map(_variable, c, c.values())) for c in (COLOURS["light"], COLOURS["dark"]))
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"


def _variable(token: str, colour: Colour) -> str:
    value = colour if isinstance(colour, str) else f"linear-gradient(to right, {', '.join(c for _, c in colour)})"
    return f"--{token[1:]}: {value};"


def resolve(value: object, scheme: Scheme) -> object:
    """A figure with its tokens replaced by colours; the page does the same in the reader's browser.

    Only under keys that hold colours, so that a tensor named `@ink` keeps its name.
    """
    if isinstance(value, list):
        return [resolve(v, scheme) for v in value]
    if isinstance(value, dict):
        return {
            k: _colour(v, scheme) if k.endswith(("color", "colorscale")) else resolve(v, scheme)
            for k, v in value.items()
        }
    return value


def _colour(value: object, scheme: Scheme) -> object:
    if isinstance(value, list):
        return [_colour(v, scheme) for v in value]
    return COLOURS[scheme].get(value, value) if isinstance(value, str) else resolve(value, scheme)
