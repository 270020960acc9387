"""The estimate against engines that were built, and what it refuses."""

import re

import pytest

from secateur.bench.networks import random_network
from secateur.device import find_device
from secateur.encode import encode, fit
from secateur.engine import EngineSpec, default_lanes
from secateur.errors import BadInputError
from secateur.estimate import estimate, lacking, payload_bytes, require, require_possible
from secateur.generate import generate

#: Of routed engines behind their UARTs (benchmarks/fit_estimate.py; LUTs move with the gateware).
MEASURED = [
    ({"pes": 1}, 2753, 9),
    ({"pes": 3}, 3410, 17),
    ({"pes": 4}, 4671, 23),
    ({"pes": 16}, 8586, 71),
    ({"pes": 4, "banks": 1}, 4695, 15),
    ({"pes": 4, "codebook_bits": 4}, 4738, 20),
    ({"pes": 4, "row_depth": 64}, 5437, 23),
    ({"pes": 4, "row_depth": 256, "weight_depth": 4096, "column_depth": 4096}, 4967, 79),
    (
        {"pes": 4, "activation_width": 16, "weight_width": 16, "accumulator_width": 40},
        6540,
        32,
    ),
]


def spec_of(**fields: int) -> EngineSpec:
    return EngineSpec(lanes=default_lanes(fields["pes"]), **fields)


@pytest.mark.parametrize(("fields", "lut", "bram"), MEASURED)
def test_estimate_is_what_was_measured(fields: dict[str, int], lut: int, bram: int) -> None:
    found = estimate(spec_of(**fields), find_device("ecp5-85k"))
    assert found.bram == bram
    assert found.dsp == fields["pes"]
    assert found.lut == pytest.approx(lut, rel=0.05)


def test_larger_payloads_take_more_blocks() -> None:
    device = find_device("ecp5-25k")
    spec = spec_of(pes=4)
    # Two buffers of 1024 words of 4 bytes: 36 bits wide with 512 words a block.
    assert estimate(spec, device, payload=4096).bram == estimate(spec, device).bram + 2


def test_what_fits_is_returned() -> None:
    device = find_device("ecp5-25k")
    assert require(spec_of(pes=4), device) == estimate(spec_of(pes=4), device)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"pes": 16},
            (
                "the engine does not fit device 'ecp5-25k': it needs 71 block RAMs of 56; "
                "device 'ecp5-85k' would hold it"
            ),
        ),
        (
            {"pes": 32, "weight_depth": 512, "column_depth": 512, "banks": 1},
            (
                "the engine does not fit device 'ecp5-25k': it needs 71 block RAMs of 56 and "
                "32 multipliers of 28; device 'ecp5-85k' would hold it"
            ),
        ),
        (
            {"pes": 160, "weight_depth": 64, "column_depth": 64, "banks": 1},
            (
                "the engine does not fit device 'ecp5-25k': it needs 95471 LUT4s of 24288 and "
                "160 multipliers of 28; no known device holds it; reduce pes or the depths"
            ),
        ),
    ],
    ids=["block RAM", "two kinds", "no device"],
)
def test_device_too_small(fields: dict[str, int], message: str) -> None:
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        require(spec_of(**fields), find_device("ecp5-25k"))


def test_what_is_made_to_fit_leaves_a_tenth_of_the_luts() -> None:
    fields = {"weight_depth": 64, "column_depth": 64, "row_depth": 32, "accumulator_width": 32}
    spec = spec_of(pes=28, banks=1, **fields)
    device = find_device("ecp5-25k")
    assert require(spec, device) == estimate(spec, device)
    assert lacking(spec, "ecp5-25k", words=64) == ["23825 LUT4s of 21859"]
    assert lacking(spec, "ecp5-85k", words=64) == []


def test_what_is_made_to_fit_leaves_room_for_long_inputs() -> None:
    spec = spec_of(pes=4, activation_width=16, weight_depth=2048, column_depth=2048)
    assert payload_bytes(spec, 65536) == 1 << 19
    assert lacking(spec, "ecp5-25k", words=128) == []
    assert lacking(spec, "ecp5-25k", words=65536) == ["546 block RAMs of 56"]


def test_fitting_an_unknown_device() -> None:
    with pytest.raises(BadInputError, match=r"^device must be one of ecp5-25k, ecp5-85k, not 'x'"):
        lacking(spec_of(pes=4), "x", words=1)


def test_what_no_device_comes_near_to_is_not_generated() -> None:
    network = random_network(1, [8, 4])
    program = encode(network, fit(network, pes=256, weight_depth=1 << 20))
    message = (
        "the engine's memories would have 6442505256 bits and 30670848 is the most, 8 times what "
        "the largest known device has; reduce pes or the depths"
    )
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        generate(program)


def test_many_pes_of_usual_depth_are_generated() -> None:
    require_possible(spec_of(pes=256))
