"""Make foreign text harmless in the four places where it lands: HTML, chart labels, JSON in a script, and file names.

Run labels, tensor names, notes and paths come from outside. Jinja escapes HTML by itself; what it does not know is
that plotly reads a small HTML of its own (`<b>`, `<a href>`, `&amp;`) and hover placeholders (`%{x}`) in every label,
and that `</script>` ends a script element wherever it stands.
"""

from __future__ import annotations

import json
import unicodedata

# Cc control, Cf format (bidirectional overrides, zero width), Cs lone surrogates, Zl/Zp line separators
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_KEPT = {"\n", "\t"}
_ELLIPSIS = "…"


def visible(text: str) -> str:
    r"""The text with control, format and lone surrogate characters written out, as `\u202e`.

    >>> visible("a\x00b\u202ec")
    'a\\u0000b\\u202ec'
    """
    return "".join(_shown(c) for c in text)


def _shown(char: str) -> str:
    if char in _KEPT or unicodedata.category(char) not in _INVISIBLE:
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def label(text: str) -> str:
    """The text as plotly must be given it to show it as it is: no tags, entities, placeholders or line breaks.

    >>> label('<a href="x">%{y}</a>')
    '&lt;a href="x"&gt;&#37;{y}&lt;/a&gt;'
    """
    shown = visible(" ".join(text.split()))
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("%", "&#37;")):
        shown = shown.replace(char, entity)
    return shown


def script_json(value: object) -> str:
    """JSON that may stand inside a script element: no `<`, `>`, `&` or line separator in it, and no NaN.

    Raises:
        ValueError: a number is NaN or infinite (the caller maps those to None, so that a gap is on purpose).
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def short(text: str, limit: int) -> str:
    """The text in at most `limit` characters: words of a dotted name to their initials from the left, else cut.

    Numbers stay, they tell layers apart.

    >>> short("model.layers.11.self_attn.q_proj", 26), short("a" * 9 + "b" * 9, 9)
    ('m.l.11.self_attn.q_proj', 'aaaa…bbbb')
    """
    text = _initials(text, limit)
    if len(text) <= limit:
        return text
    tail = limit // 2
    return text[: limit - tail - 1] + _ELLIPSIS + text[-tail:]


def _initials(text: str, limit: int) -> str:
    parts = text.split(".")
    if not all(p.isidentifier() or p.isdigit() for p in parts):  # no dotted name: a label such as "lr 0.001"
        return text
    for i, part in enumerate(parts[:-1]):
        if len(".".join(parts)) <= limit:
            break
        parts[i] = part if part.isdigit() else part[:1]
    return ".".join(parts)


def row_names(names: list[str], limit: int = 30) -> list[str]:
    """Labels for rows: without `.weight` where that leaves them different, then as `short_names`, ready for plotly.

    >>> row_names(["a.weight", "a.bias", "b", "b.weight"])
    ['a', 'a.bias', 'b', 'b.weight']
    """
    known = set(names)
    bare = [n.removesuffix(".weight") for n in names]
    return [
        label(n) for n in short_names([b if b not in known else n for b, n in zip(bare, names, strict=True)], limit)
    ]


def short_names(names: list[str], limit: int = 30) -> list[str]:
    """The names cut to `limit` characters, still all different: those that would collide keep a number.

    >>> short_names(["a" * 9 + "1" + "b" * 9, "a" * 9 + "2" + "b" * 9], 9)
    ['aaaa…bbbb', 'aaaa…bbbb (2)']
    """
    taken: set[str] = set()
    result: list[str] = []
    for name in names:
        cut, number = short(name, limit), 1
        shown = cut
        while shown in taken:
            number += 1
            shown = f"{cut} ({number})"
        taken.add(shown)
        result.append(shown)
    return result
