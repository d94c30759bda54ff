"""Named placements, looked up by the words that recipes and the command line use."""

from __future__ import annotations

from collections.abc import Callable

from equipoise._errors import ArgumentError, near
from equipoise.nn.blocks.peri_ln import peri_ln
from equipoise.nn.blocks.post_ln import post_ln
from equipoise.nn.blocks.pre_ln import pre_ln
from equipoise.nn.blocks.slots import Placement

PLACEMENTS: dict[str, Callable[[], Placement]] = {f.__name__: f for f in (post_ln, pre_ln, peri_ln)}


def named_placement(name: str) -> Placement:
    """The placement of that name with its defaults. Raises ArgumentError with near names when there is none."""
    if name not in PLACEMENTS:
        raise ArgumentError("placement", name, "a known placement", near(name, list(PLACEMENTS)))
    return PLACEMENTS[name]()
