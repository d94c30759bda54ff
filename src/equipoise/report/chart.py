"""One chart: a plotly figure as plain data, with a title and a summary in words.

Colours are tokens of `palette`; fonts, grids and margins come from the page's template (`theme`), so that a figure
holds only what is particular to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from equipoise.report.palette import COLOURS, FONT, Scheme

Json = dict[str, object]


@dataclass(frozen=True)
class Chart:
    """A figure and its words.

    Attributes:
        key: unique on the page; letters, digits, `-` and `_` only (it becomes an element id).
        title: what is shown, plain text.
        summary: what it says, in numbers; the caption, and what a screen reader reads.
        traces: plotly traces.
        layout: plotly layout, without what the theme gives.
        height: CSS pixels.
        metrics: store metrics drawn, so that evidence can link here.
        arm: the arm drawn, None when all are.
    """

    key: str
    title: str
    summary: str
    traces: list[Json]
    layout: Json = field(default_factory=dict)
    height: int = 300
    metrics: tuple[str, ...] = ()
    arm: int | None = None


@dataclass(frozen=True)
class ColourKey:
    """What the colours of a group of heat maps mean: scale, title, ticks as (per cent of its length, text)."""

    scale: str
    title: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Group:
    """Charts that stand side by side under one heading ("" for none): one quantity, arm by arm; `note` is their key."""

    title: str
    charts: tuple[Chart, ...]
    note: str = ""
    key: ColourKey | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page: paragraphs, groups of charts, a sentence for all that could not be shown."""

    anchor: str
    title: str
    lead: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()
    gaps: tuple[str, ...] = ()

    @property
    def legend(self) -> bool:
        """Whether the arms' colours need a key: some chart shows several arms without naming them."""
        return any(c.arm is None for c in self.charts)

    @property
    def charts(self) -> tuple[Chart, ...]:
        """All charts of the section."""
        return tuple(c for g in self.groups for c in g.charts)


def axis(title: str = "", **more: object) -> Json:
    """An axis with a title that never runs into the ticks."""
    return {"title": {"text": title, "standoff": 8}, "automargin": True, **more}


def step_axis(**more: object) -> Json:
    """The horizontal axis of everything over time."""
    return axis("optimizer step", **more)


def theme(scheme: Scheme) -> Json:
    """The plotly template of a colour scheme."""
    colours = COLOURS[scheme]
    line: Json = {"gridcolor": colours["@grid"], "zerolinecolor": colours["@grid"], "linecolor": colours["@grid"]}
    both: Json = {**line, "ticks": "", "title": {"font": {"size": 12}}, "tickfont": {"size": 11}, "zerolinewidth": 1}
    layout: Json = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": colours["@muted"]},
        "xaxis": {**both, "showgrid": False, "showline": True, "zeroline": False},
        "yaxis": both,
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "align": "left", "namelength": -1},
        "margin": {"l": 56, "r": 14, "t": 12, "b": 46},
        "showlegend": False,  # the page has one key per section; plotly's own takes half of a phone's chart
    }
    return {"layout": layout}
