"""What README and the site's menu name exists, and what exists is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _tree_of_readme() -> set[str]:
    block = re.search(r"## The tree\n```\n(.*?)```", README, re.DOTALL)
    assert block, "README has no tree"
    return set(re.findall(r"^ *([\w/]+)/ ", block[1], re.MULTILINE))


def test_readme_names_every_package_and_folder() -> None:
    packages = {p.parent.name for p in (ROOT / "src" / "equipoise").glob("*/__init__.py")}
    folders = {name for name in ("tests", "bench", "docs", "examples") if (ROOT / name).is_dir()}
    assert _tree_of_readme() == packages | folders


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda p: p.name)
def test_links_of_root_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in sorted((ROOT / "docs").rglob("*.md"))]
    assert not [page for page in pages if page not in menu]


def test_every_make_word_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    words = set(re.findall(r"^make ([\w-]+)|`make ([\w-]+)`", README, re.MULTILINE))
    for word in {a or b for a, b in words}:
        assert re.search(rf"^{word}:", makefile, re.MULTILINE), f"make {word}"


def test_readme_lists_the_verbs_there_are() -> None:
    from equipoise.cli import VERBS

    used = set(re.findall(r"equipoise ([a-z-]+)(?= |`)", README)) - {"as"}
    assert used <= set(VERBS), used - set(VERBS)


def test_every_rule_stands_in_the_page_by_symptom() -> None:
    from equipoise._card import cards

    page = (ROOT / "docs" / "choose" / "by-symptom.md").read_text(encoding="utf-8")
    assert not [card.name for card in cards("rule") if f"methods/rule/{card.name}.md" not in page]


def test_every_environment_variable_is_explained() -> None:
    page = (ROOT / "docs" / "how-to" / "settings.md").read_text(encoding="utf-8")
    source = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "src").rglob("*.py"))
    assert not [name for name in set(re.findall(r"EQUIPOISE_[A-Z]+", source)) if f"`{name}`" not in page]
