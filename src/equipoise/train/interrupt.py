"""Ctrl-C between steps instead of within one: the run ends at a whole step, with a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class StopRequest:
    """Whether somebody pressed Ctrl-C."""

    wanted: bool = False


@contextmanager
def polite_interrupt() -> Iterator[StopRequest]:
    """Inside, the first SIGINT only sets `wanted`; a second one raises KeyboardInterrupt at once, as usual.

    Outside of the main thread signals cannot be caught, and nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = signal.getsignal(signal.SIGINT)

    def first(_number: int, _frame: object) -> None:
        request.wanted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, first)
    try:
        yield request
    finally:
        signal.signal(signal.SIGINT, before)
