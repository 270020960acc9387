"""Run many hostile cases: none may take long, need much memory or end in any error but the one."""

from __future__ import annotations

import resource
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

#: Seconds of the processor for one case, and bytes of address space that all of them may add.
SECONDS, SPACE = 5, 1 << 30


@contextmanager
def bounded() -> Iterator[None]:
    """Let an allocation beyond :data:`SPACE` fail, as a ``MemoryError`` that nothing expects."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + SPACE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def hangs(*_: object) -> None:
    """End a case that takes too long."""
    raise AssertionError(f"a case took more than {SECONDS} s")


@pytest.fixture
def fuzz(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Give ``fuzz(case, share)``: run ``case(rng)`` ``share`` times as often as the profile says.

    That is 50 times, and 2,000 times with ``--hypothesis-profile nightly``. `tests/conftest.py`
    adds up what ran.
    """

    def run(case: Callable[[Random], None], share: float = 1) -> None:
        wanted = int(share * settings().max_examples / 2)
        ran = 0

        @settings(
            max_examples=wanted,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
        )
        @given(st.randoms(use_true_random=False))
        def one(rng: Random) -> None:
            nonlocal ran
            ran += 1
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                case(rng)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)

        before = signal.signal(signal.SIGPROF, hangs)
        try:
            with bounded():
                one()
        finally:
            signal.signal(signal.SIGPROF, before)
        assert ran >= wanted
        record_property("fuzz cases", ran)

    return run
