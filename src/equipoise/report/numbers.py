"""Numbers as a reader wants them, and as JSON can carry them."""

from __future__ import annotations

import math
from collections.abc import Sequence

_THIN_SPACE = "\u202f"
_MINUS = "−"


def finite(value: float | None, digits: int = 5) -> float | None:
    """The value rounded to `digits` significant digits; None for None, NaN and infinities."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def finites(values: Sequence[float], digits: int = 5) -> list[float | None]:
    """`finite` of each."""
    return [finite(v, digits) for v in values]


def number(value: float | None, digits: int = 3) -> str:
    """A number for prose: `digits` significant digits, a real minus sign, words for what is no number.

    >>> number(0.000123456), number(2.5), number(float("nan")), number(None)
    ('1.23e−4', '2.5', 'not a number', 'unknown')
    """
    if value is None:
        return "unknown"
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else f"{_MINUS}infinite"
    if value == int(value) and abs(value) < 1e15 and abs(value) >= 1000:
        return count(int(value))
    return _plain(value, digits)


def _plain(value: float, digits: int) -> str:
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        text = f"{mantissa}e{int(exponent)}"
    else:
        text = f"{float(f'{value:.{digits}g}'):.12g}"
    return text.replace("-", _MINUS)


def fixed(value: float | None, places: int) -> str:
    """A number for a table column: always `places` decimals, so that the column lines up; a dash when there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{places}f}".replace("-", _MINUS)


def signed(value: float | None, places: int) -> str:
    """As `fixed`, with a plus sign where it is one."""
    text = fixed(value, places)
    return f"+{text}" if value is not None and math.isfinite(value) and value > 0 else text


def interval(low: float, high: float, places: int, *, sign: bool = False) -> str:
    """`2.41 to 2.48`; `none` when an end is missing, as with a single seed."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "none"
    written = signed if sign else fixed
    return f"{written(low, places)} to {written(high, places)}"


def places_for(spread: float | None) -> int:
    """Decimals that show `spread` (an interval's half width, say) with two digits; between 2 and 6.

    >>> places_for(0.034), places_for(3.0), places_for(None)
    (3, 2, 3)
    """
    if spread is None or not math.isfinite(spread) or spread <= 0:
        return 3
    return min(6, max(2, 1 - math.floor(math.log10(spread))))


def count(value: int) -> str:
    """A whole number in groups of three, with thin spaces from five digits on."""
    text = f"{abs(value):,}".replace(",", _THIN_SPACE) if abs(value) >= 10_000 else str(abs(value))
    return f"{_MINUS}{text}" if value < 0 else text


def p_value(value: float | None) -> str:
    """A p-value as text: `p = 0.012`, `p < 0.001`."""
    if value is None or not math.isfinite(value):
        return "p not computed"
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def share(value: float) -> str:
    """A fraction as per cent, two digits.

    >>> share(0.00912), share(0.5)
    ('0.91 %', '50 %')
    """
    return f"{number(100 * value, 2)} %"


def plural(n: int, one: str, many: str = "") -> str:
    """`1 run`, `3 runs`."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def listing(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]
