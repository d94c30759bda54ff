"""What a run shows: words that are right, lines that come in time."""

import io

import pytest

from equipoise.train.progress import Moment, PlainLines, choose_progress, clock


def moment(**changes: object) -> Moment:
    return Moment(
        **{
            "title": "r",
            "step": 5,
            "share": 0.25,
            "loss": 1.5,
            "val_loss": 2.25,
            "rate": 1234.5,
            "unit": "tokens",
            "seconds": 10.0,
            **changes,
        }
    )


def test_words_and_time_left():
    assert moment().left == pytest.approx(30)
    assert moment().words() == "step     5  loss 1.5000  held-out 2.2500  1,234 tokens/s  30 s left"
    assert "held-out" not in moment(val_loss=None).words()
    assert moment(share=0.0).words().endswith("? left")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.7, "60 s"), (100, "1:40"), (3599, "59:59"), (3723, "1:02:03")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_plain_lines_come_every_few_seconds_and_at_the_end():
    stream = io.StringIO()
    lines = PlainLines(stream, every=1000)
    for share in (0.1, 0.2, 0.3, 1.0):
        lines.update(moment(share=share))
    shown = stream.getvalue().splitlines()
    assert [line.split()[1] for line in shown] == ["10%", "100%"]
    assert all(len(line) <= 100 for line in shown)


def test_without_a_terminal_there_are_plain_lines(monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(choose_progress(), PlainLines)


def test_the_bar_shows_the_words_and_can_be_used_twice(monkeypatch):
    from rich.console import Console

    from equipoise.train import progress

    stream = io.StringIO()
    bar = progress.Bar()
    bar._console = Console(file=stream, force_terminal=True, width=120)
    for title in ("one", "two"):
        bar.update(moment(title=title))
        bar.close()
    bar.note("[done]")
    assert "one" in stream.getvalue()
    assert "two" in stream.getvalue()
    assert "loss 1.5000" in stream.getvalue()
    assert "[done]" in stream.getvalue()
