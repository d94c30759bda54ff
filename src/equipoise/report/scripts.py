"""The page's scripts: plotly.js, packed, and our own; and the policy that lets these run and nothing else.

plotly.js is 4.8 MB. The page carries it gzipped in base64 (2 MB) as inert text; our script unpacks it and adds it as a
script element. The policy names the SHA-256 of both scripts, so a browser runs them and no other code, whatever a run
or tensor is called, and no request leaves the page.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import lru_cache
from pathlib import Path

from equipoise._errors import MissingExtraError

TEMPLATES = Path(__file__).parent / "templates"


@lru_cache(maxsize=1)
def plotly_source() -> str:
    """plotly.js as the installed plotly package ships it. Raises MissingExtraError without plotly."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError("plotly", "report") from error
    return get_plotlyjs()


@lru_cache(maxsize=1)
def plotly_packed() -> str:
    """plotly.js, gzipped, in base64. The same bytes on every call (no time stamp)."""
    return base64.b64encode(gzip.compress(plotly_source().encode(), 9, mtime=0)).decode()


def own_script() -> str:
    """The script that unpacks plotly, draws the charts and follows the reader's colour scheme."""
    return (TEMPLATES / "page.js").read_text(encoding="utf-8")


def _digest(source: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() + "'"


def policy() -> str:
    """The page's Content-Security-Policy: our two scripts by digest, inline styles, images made in the page."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_digest(own_script())} {_digest(plotly_source())}",
            "style-src 'unsafe-inline'",  # plotly sets styles from script
            "img-src data: blob:",  # heat maps, and the picture a reader saves
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
