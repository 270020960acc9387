"""The estimate against engines that were built, and what it refuses."""

import re

import pytest

from secateur.bench.networks import random_network
from secateur.device import find_device
from secateur.encode import encode, fit
from secateur.engine import EngineSpec, default_lanes
from secateur.errors import BadInputError
from secateur.estimate import estimate, lacking, payload_bytes, require, require_possible
from secateur.format import Section, memories
from secateur.generate import generate
from secateur.hard_cells import engine_memories

#: On the UP5K: one bank of few words.
SMALL = {"banks": 1, "weight_depth": 256, "column_depth": 64, "activation_depth": 32}
#: LUTs, block RAMs, multipliers and SPRAMs of engines on their boards (benchmarks/fit_estimate.py;
#: LUTs move with the gateware), with the block RAMs that only a program takes.
MEASURED = [
    ("ecp5-85k", {"pes": 1}, (2355, 8, 1, 0)),
    ("ecp5-85k", {"pes": 3, "row_depth": 128}, (2859, 15, 3, 0)),
    ("ecp5-85k", {"pes": 4}, (3624, 15, 4, 0)),
    (
        "ecp5-85k",
        {"pes": 4, "codebook_bits": 4, "entry_width": 8, "row_depth": 64, "jobs": 4},
        (3427, 18, 4, 0),
    ),
    (
        "ecp5-85k",
        {"pes": 4, "activation_width": 16, "weight_width": 16, "accumulator_width": 40},
        (4534, 15, 4, 0),
    ),
    (
        "ecp5-85k",
        {"pes": 4, "queue_depth": 27, "weight_depth": 16384, "count_width": 8},
        (4286, 103, 4, 0),
    ),
    ("ecp5-85k", {"pes": 8, "accumulator_memories": 2}, (5729, 24, 8, 0)),
    ("ecp5-85k", {"pes": 16, "row_depth": 32, "jobs": 4}, (7134, 58, 16, 0)),
    ("ice40-hx8k", {"pes": 1, **SMALL}, (3211, 21, 0, 0)),
    ("ice40-hx8k", {"pes": 4, **SMALL}, (5638, 38, 0, 0)),
    ("ice40-hx8k", {"pes": 4, **SMALL, "jobs": 4, "accumulator_memories": 2}, (6227, 46, 0, 0)),
    ("ice40-up5k", {"pes": 1}, (3054, 27, 1, 0)),
    ("ice40-up5k", {"pes": 2, "weight_depth": 4096, "banks": 1}, (3653, 23, 2, 2)),
    (
        "ice40-up5k",
        {"pes": 4, **SMALL, "activation_width": 4, "accumulator_width": 16, "bias_width": 16},
        (4163, 33, 4, 0),
    ),
    ("ice40-up5k", {"pes": 8, **SMALL, "codebook_bits": 4, "entry_width": 8}, (6931, 68, 8, 0)),
]


def spec_of(**fields: int) -> EngineSpec:
    return EngineSpec(lanes=default_lanes(fields["pes"]), **fields)


@pytest.mark.parametrize(("device", "fields", "measured"), MEASURED)
def test_estimate_is_what_was_measured(
    device: str, fields: dict[str, int], measured: tuple[int, ...]
) -> None:
    found = estimate(spec_of(**fields), find_device(device))
    assert (found.bram, found.dsp, found.spram) == measured[1:]
    assert found.lut == pytest.approx(measured[0], rel=0.05)


def test_a_block_of_reserved_bits_is_left_out() -> None:
    """With 128 biases the reserved bits lie in two blocks of the layer table, with 32 in one."""
    device = find_device("ice40-up5k")
    one, other = (spec_of(pes=6, **SMALL, bias_depth=depth) for depth in (128, 32))
    widths = [memories(spec)[Section.LAYERS].record.width for spec in (one, other)]
    assert [-(-width // 16) for width in widths] == [4, 4]
    assert estimate(other, device).bram == estimate(one, device).bram - 1


def test_larger_payloads_take_more_blocks() -> None:
    device = find_device("ecp5-25k")
    spec = spec_of(pes=4)
    # Two buffers of 1024 words of 4 bytes: 36 bits wide with 512 words a block.
    assert estimate(spec, device, payload=4096).bram == estimate(spec, device).bram + 2


def test_what_fits_is_returned() -> None:
    device = find_device("ecp5-25k")
    assert require(spec_of(pes=4), device) == estimate(spec_of(pes=4), device)


@pytest.mark.parametrize(
    ("device", "fields", "message"),
    [
        (
            "ecp5-25k",
            {"pes": 16, "weight_depth": 2048},
            (
                "the engine does not fit device 'ecp5-25k': it needs 58 block RAMs of 56; "
                "device 'ecp5-85k' would hold it"
            ),
        ),
        (
            "ecp5-25k",
            {"pes": 32, "row_depth": 64, "banks": 1},
            (
                "the engine does not fit device 'ecp5-25k': it needs 76 block RAMs of 56 and "
                "32 multipliers of 28; device 'ecp5-85k' would hold it"
            ),
        ),
        (
            "ecp5-25k",
            {"pes": 160, "weight_depth": 64, "column_depth": 64, "banks": 1},
            (
                "the engine does not fit device 'ecp5-25k': it needs 80284 LUT4s of 24288 and "
                "160 multipliers of 28; no known device holds it; reduce pes or the depths"
            ),
        ),
        (
            "ice40-up5k",
            {"pes": 8, "weight_depth": 8192, "banks": 1},
            (
                "the engine does not fit device 'ice40-up5k': it needs 7403 LUT4s of 5280 and "
                "51 block RAMs of 30 and 8 SPRAMs of 4; device 'ecp5-25k' would hold it"
            ),
        ),
    ],
    ids=["block RAM", "two kinds", "no device", "SPRAM"],
)
def test_device_too_small(device: str, fields: dict[str, int], message: str) -> None:
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        require(spec_of(**fields), find_device(device))


@pytest.mark.parametrize(
    ("device", "pes", "bits", "index_width", "measured"),
    [
        ("ecp5-25k", 4, 4, 5, 182),
        ("ecp5-25k", 16, 4, 4, 246),
        ("ecp5-25k", 28, 4, 4, 326),
        ("ice40-up5k", 4, 0, 5, 218),
        ("ice40-hx8k", 8, 4, 1, 183),
    ],
)
def test_the_check_takes_what_was_measured(
    device: str, pes: int, bits: int, index_width: int, measured: int
) -> None:
    """By ``benchmarks/check_cost.py``, which knows more of these engines: 25k-4 and so on."""
    width = (bits or 8) + index_width
    spec = spec_of(pes=pes, entry_width=width, index_width=index_width, codebook_bits=bits)
    plain, checked = (
        estimate(spec, find_device(device), checked=checked) for checked in (False, True)
    )
    assert checked.lut - plain.lut == pytest.approx(measured, abs=15)
    assert (checked.bram, checked.dsp, checked.spram) == (plain.bram, plain.dsp, plain.spram)


def test_a_device_too_small_for_the_check() -> None:
    spec = spec_of(
        pes=4, **SMALL, jobs=4, accumulator_memories=2, accumulator_width=22, bias_width=22
    )
    device = find_device("ice40-up5k")
    for checked, luts in ((False, ""), (True, "5387 LUT4s of 5280 and ")):
        with pytest.raises(BadInputError) as caught:
            require(spec, device, checked=checked)
        assert str(caught.value) == (
            f"the engine does not fit device 'ice40-up5k': it needs {luts}46 block RAMs of 30; "
            "device 'ecp5-25k' would hold it"
        )


def test_what_is_made_to_fit_leaves_a_tenth_of_the_luts() -> None:
    fields = {"weight_depth": 64, "column_depth": 64, "row_depth": 32, "accumulator_width": 36}
    spec = spec_of(pes=28, banks=1, **fields)
    device = find_device("ecp5-25k")
    assert require(spec, device) == estimate(spec, device)
    assert lacking(spec, "ecp5-25k", words=64) == ["22675 LUT4s of 21859"]
    assert lacking(spec, "ecp5-85k", words=64) == []


def test_what_is_made_to_fit_leaves_room_for_long_inputs() -> None:
    spec = EngineSpec(pes=4, lanes=4, activation_width=16, weight_depth=2048, column_depth=2048)
    assert payload_bytes(spec, 65536) == 1 << 19
    assert lacking(spec, "ecp5-25k", words=128) == []
    assert lacking(spec, "ecp5-25k", words=65536) == ["533 block RAMs of 56"]


def test_fitting_an_unknown_device() -> None:
    message = r"^device must be one of ice40-up5k, ice40-hx8k, ecp5-25k, ecp5-85k, not 'x'$"
    with pytest.raises(BadInputError, match=message):
        lacking(spec_of(pes=4), "x", words=1)


def test_what_no_device_comes_near_to_is_not_generated() -> None:
    network = random_network(1, [8, 4])
    program = encode(network, fit(network, pes=256, weight_depth=1 << 20))
    bits = sum(kind.bits for kind in engine_memories(program.spec))
    message = (
        f"the engine's memories would have {bits} bits and 30670848 is the most, 8 times what "
        "the largest known device has; reduce pes or the depths"
    )
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        generate(program)


def test_many_pes_of_usual_depth_are_generated() -> None:
    require_possible(spec_of(pes=256))
