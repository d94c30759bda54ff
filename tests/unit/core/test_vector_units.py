"""What Inductor found of the processor's vector units is noted, and not asked again."""

import pytest
import torch._inductor.config as settings
from torch._inductor import cpu_vec_isa as units

from equipoise.core.vector_units import find_vector_units


@pytest.fixture
def asked(monkeypatch, own_cache):
    """Units that are reported and those that work, both to be changed, and the setting under which each was asked."""
    reported, works, seen = ["small", "wide"], ["small wide", "small"], []
    monkeypatch.setattr(units, "supported_vec_isa_list", ["small wide widest", "small wide", "small"])
    monkeypatch.setattr(units, "x86_isa_checker", lambda: list(reported))
    monkeypatch.setattr(units, "valid_vec_isa_list", lambda: seen.append(settings.cpp.vec_isa_ok) or list(works))
    with settings.patch({"cpp.vec_isa_ok": None}):
        yield reported, works, seen


def test_they_are_tried_out_once(asked, own_cache):
    for _ in range(3):
        find_vector_units()
    assert asked[2] == [None, True, True]  # True: without a trial
    assert len([*own_cache.glob("equipoise/*.json")]) == 1
    assert settings.cpp.vec_isa_ok is None


def test_where_one_does_not_work_all_are_tried_every_time(asked):
    _, works, seen = asked
    works.remove("small wide")
    find_vector_units()
    find_vector_units()
    assert seen == [None, None]


def test_another_processor_is_another_question(asked):
    reported, works, seen = asked
    find_vector_units()
    reported.remove("wide")
    works.remove("small wide")
    find_vector_units()
    find_vector_units()
    assert seen == [None, None, True]


def test_nothing_is_asked_where_it_was_told_or_nothing_is_reported(asked):
    reported, _, seen = asked
    with settings.patch({"cpp.vec_isa_ok": True}):
        find_vector_units()
    reported.clear()
    find_vector_units()
    assert seen == []


def test_a_cache_that_cannot_be_written_to_stops_nothing(asked, own_cache):
    own_cache.mkdir()
    (own_cache / "equipoise").write_text("no folder")
    find_vector_units()
    find_vector_units()
    assert asked[2] == [None, None]
