# amaranth: UnusedElaboratable=no
"""What the top refuses to be built from; the cosimulation shows the rest."""

from __future__ import annotations

import pytest

from secateur.bench.networks import random_network
from secateur.encode import encode, fit
from secateur.errors import BadInputError
from secateur.gateware.top import Top
from secateur.protocol import word_size

NETWORK = random_network(1, [600, 4], density=0.3)
SPEC = fit(NETWORK, pes=2)


@pytest.mark.parametrize("max_payload", [128, 1000, 131072])
def test_max_payload_is_rejected(max_payload: int) -> None:
    with pytest.raises(BadInputError) as caught:
        Top(SPEC, clock=25_000_000, baud=115_200, max_payload=max_payload)
    assert str(caught.value) == (
        f"max_payload must be a power of two between 256 and 65536, not {max_payload}"
    )


def test_x_larger_than_a_frame() -> None:
    program = encode(NETWORK, SPEC)
    size = word_size(SPEC) * program.input_words
    with pytest.raises(BadInputError) as caught:
        Top(SPEC, program=program, clock=25_000_000, baud=115_200, max_payload=256)
    assert str(caught.value) == (
        f"the program's input takes {size} bytes and the hardware's frames carry 256; generate "
        "the hardware with max_payload = 512"
    )


def test_baud_rate_is_rejected() -> None:
    with pytest.raises(BadInputError, match=r"^baud must be at most clock / 4 \(6250000\), not "):
        Top(SPEC, clock=25_000_000, baud=12_000_000)
