"""The engine behind its UART against whatever comes down the line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from secateur.bench.cosim import cosimulate
from secateur.bench.networks import random_inputs, random_network
from secateur.encode import encode, fit
from secateur.gateware.top import Top

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DIVISOR, CLOCK = 4, 100_000_000


@pytest.mark.cosim
@pytest.mark.parametrize("checked", [False, True])
def test_hostile_frames(
    checked: bool,
    tmp_path: Path,
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
) -> None:
    network = random_network(3, [9, 7, 4], density=0.6, codebook=True)
    spec = fit(network, pes=2)
    cases = settings().max_examples // 2  # each takes 10,000 cycles
    program = encode(network, spec)
    program.save(tmp_path / "0.sct")
    x = random_inputs(1, network, 20)
    np.savez(tmp_path / "0.npz", x=x, y=network.compute(x))
    passed = cosimulate(
        Top(
            spec,
            program=program,
            clock=CLOCK,
            baud=CLOCK // DIVISOR,
            max_payload=256,
            checked=checked,
        ),
        testbench="secateur.bench.tb_top_hostile",
        build_dir=tmp_path / "simulation",
        cache=pytestconfig.rootpath / "build/cosim",
        env={
            "JOB": str(tmp_path),
            "DIVISOR": str(DIVISOR),
            "CASES": str(cases),
            "CHECKED": str(int(checked)),
        },
    )
    assert passed == ["goes_on"]
    record_property("fuzz cases", cases)
