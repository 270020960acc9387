"""What an engine may be."""

import contextlib
import dataclasses
import re

import pytest

from secateur.bench.networks import random_network
from secateur.encode import fit
from secateur.engine import POWERS_OF_TWO, RANGES, EngineSpec, default_lanes
from secateur.errors import BadInputError


@pytest.mark.parametrize("field", RANGES)
def test_ranges(field: str) -> None:
    """The value below and the value above each range are refused with the same sentence."""
    low, high = RANGES[field]
    for value in (low - 1, high + 1, 2.0, True):
        message = f"{field} must be an integer between {low} and {high}, not {value!r}"
        with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
            EngineSpec(**{"pes": 4, "lanes": 4, field: value})


@pytest.mark.parametrize("field", POWERS_OF_TWO)
def test_powers_of_two(field: str) -> None:
    odd = min(6, RANGES[field][1] - 1)
    with pytest.raises(BadInputError, match=f"^{field} must be a power of two, not {odd}$"):
        EngineSpec(**{"pes": 12, "lanes": 4, field: odd})


def test_lanes_divide_pes() -> None:
    with pytest.raises(BadInputError, match=r"^lanes must divide pes \(6\), not 4$"):
        EngineSpec(pes=6, lanes=4)


@pytest.mark.parametrize("pes", range(1, 257))
def test_default_lanes_are_allowed(pes: int) -> None:
    spec = EngineSpec(pes=pes, lanes=default_lanes(pes))
    assert spec.lanes <= spec.groups
    twice = 2 * spec.lanes
    assert pes % twice or twice > pes // twice


def test_an_entry_is_no_wider_than_its_parts() -> None:
    message = (
        "entry_width must be at most the largest code's and the largest index's bits (4 + 3), not 8"
    )
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        EngineSpec(pes=4, lanes=4, codebook_bits=4, index_width=3, entry_width=8)
    assert EngineSpec(
        pes=4, lanes=4, codebook_bits=4, index_width=3, entry_width=7
    ).code_widths == range(4, 5)


def test_a_job_has_no_second_memory() -> None:
    message = "accumulator_memories must be at most jobs (1), not 2"
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        EngineSpec(pes=1, lanes=1, jobs=1, accumulator_memories=2)


def test_every_job_has_a_word_of_activations() -> None:
    message = "activation_depth must be at least jobs (8), a word for the output of each, not 4"
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        EngineSpec(pes=1, lanes=1, jobs=8, activation_depth=4)
    network = random_network(1, [6, 5], density=0.5)
    assert fit(network, pes=1, jobs=8).activation_depth == 8
    assert fit(network, pes=1, jobs=4).activation_depth == 4


def test_a_bias_is_no_wider_than_an_accumulator() -> None:
    message = "bias_width must be at most accumulator_width (16), not 17"
    with pytest.raises(BadInputError, match=f"^{re.escape(message)}$"):
        EngineSpec(pes=4, lanes=4, accumulator_width=16, bias_width=17)


@pytest.mark.parametrize("codebook_bits", [0, 1, 4, 6])
@pytest.mark.parametrize("index_width", range(1, 9))
def test_every_entry_leaves_a_code_and_an_index(codebook_bits: int, index_width: int) -> None:
    largest = codebook_bits or 8
    for entry_width in range(3, largest + index_width + 1):
        spec = EngineSpec(
            pes=1,
            lanes=1,
            codebook_bits=codebook_bits,
            index_width=index_width,
            entry_width=entry_width,
        )
        possible = [
            code for code in range(1, largest + 1) if 1 <= entry_width - code <= index_width
        ]
        assert [*spec.code_widths] == possible


@pytest.mark.parametrize(
    ("pes", "lanes", "groups", "drain_lanes"),
    [(1, 1, 1, 1), (16, 4, 4, 4), (16, 8, 2, 2), (24, 4, 6, 2), (12, 4, 3, 1), (256, 4, 64, 4)],
)
def test_groups_and_lanes(pes: int, lanes: int, groups: int, drain_lanes: int) -> None:
    spec = EngineSpec(pes=pes, lanes=lanes)
    assert (spec.groups, spec.drain_lanes) == (groups, drain_lanes)


def test_dict_and_back() -> None:
    spec = EngineSpec(pes=4, lanes=2, codebook_bits=4, entry_width=8)
    assert EngineSpec.from_dict(spec.to_dict()) == spec
    for odd in ({"pes": 4}, {**spec.to_dict(), "speed": 1}):
        with pytest.raises(
            BadInputError, match=r"^the engine must have exactly its known fields; "
        ):
            EngineSpec.from_dict(odd)


def test_a_specification_from_before_there_were_positions() -> None:
    spec = EngineSpec(pes=4, lanes=2)
    fields = spec.to_dict()
    assert fields.pop("positions") == 0
    assert EngineSpec.from_dict(fields) == spec
    assert spec.fingerprint == 0xEE845C75


def test_every_field_changes_the_fingerprint() -> None:
    """An image for an engine that differs anywhere is for another engine."""
    spec = EngineSpec(
        pes=8, lanes=4, codebook_bits=4, entry_width=7, bias_width=8, accumulator_memories=2
    )
    others = []
    for name, now in spec.to_dict().items():
        for value in {RANGES[name][0], 1, 4, 8, 16} - {now}:
            with contextlib.suppress(BadInputError):
                others.append(EngineSpec.from_dict({**spec.to_dict(), name: value}))
    one = dataclasses.replace(spec, jobs=1, accumulator_memories=1)
    others += [dataclasses.replace(one, positions=positions) for positions in (1, 2, 8)]
    assert {
        name for o in others for name, v in o.to_dict().items() if v != getattr(spec, name)
    } == {*spec.to_dict()}
    fingerprints = {spec.fingerprint, *(other.fingerprint for other in others)}
    assert len(fingerprints) == len(others) + 1
