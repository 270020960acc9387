"""What an engine may be."""

import re

import pytest

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
    with pytest.raises(BadInputError, match=f"^{field} must be a power of two, not 6$"):
        EngineSpec(**{"pes": 12, "lanes": 4, field: 6})


def test_lanes_divide_pes() -> None:
    with pytest.raises(BadInputError, match=r"^lanes must divide pes \(6\), not 4$"):
        EngineSpec(pes=6, lanes=4)


@pytest.mark.parametrize("pes", range(1, 257))
def test_default_lanes_are_allowed(pes: int) -> None:
    assert EngineSpec(pes=pes, lanes=default_lanes(pes)).lanes <= 4


def test_dict_and_back() -> None:
    spec = EngineSpec(pes=4, lanes=2, codebook_bits=4)
    assert EngineSpec.from_dict(spec.to_dict()) == spec
    for odd in ({"pes": 4}, {**spec.to_dict(), "speed": 1}):
        with pytest.raises(
            BadInputError, match=r"^the engine must have exactly its known fields; "
        ):
            EngineSpec.from_dict(odd)


def test_every_field_changes_the_fingerprint() -> None:
    """An image for an engine that differs anywhere is for another engine."""
    spec = EngineSpec(pes=8, lanes=4, codebook_bits=4)
    others = [
        EngineSpec.from_dict({**spec.to_dict(), name: value})
        for name, now in spec.to_dict().items()
        for value in {RANGES[name][0], 4, 8, 16} - {now}
        if RANGES[name][0] <= value <= RANGES[name][1]
        and not (name == "lanes" and 8 % value)
        and not (name == "pes" and value % 4)
    ]
    assert {
        name for o in others for name, v in o.to_dict().items() if v != getattr(spec, name)
    } == {*spec.to_dict()}
    fingerprints = {spec.fingerprint, *(other.fingerprint for other in others)}
    assert len(fingerprints) == len(others) + 1
