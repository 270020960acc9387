"""Shifted images: what enters is zero, every distance occurs, and inputs that are no images."""

import itertools

import pytest
import torch

from secateur.augment import check_shift, shifted
from secateur.errors import BadInputError


def test_every_distance_occurs_equally_often_and_nothing_else() -> None:
    x = torch.arange(1.0, 1 + 2 * 3 * 4 * 5).view(2, 3, 4, 5)
    expected = {}
    for dy, dx in itertools.product(range(-2, 3), repeat=2):
        moved = torch.zeros_like(x)
        for row, column in itertools.product(range(4), range(5)):
            if 0 <= row - dy < 4 and 0 <= column - dx < 5:
                moved[:, :, row, column] = x[:, :, row - dy, column - dx]
        expected[moved.numpy().tobytes()] = 0
    assert len(expected) == 25
    generator = torch.Generator().manual_seed(0)
    before = torch.get_rng_state()
    for _ in range(2500):
        expected[shifted(x, 2, generator).contiguous().numpy().tobytes()] += 1
    assert torch.equal(torch.get_rng_state(), before)  # the given generator draws alone
    assert sum(expected.values()) == 2500
    assert 60 < min(expected.values()) <= max(expected.values()) < 140  # four sigma


@pytest.mark.parametrize(
    ("shape", "most", "sentence"),
    [
        (
            (64,),
            1,
            (
                "train.shift must be 0 for inputs of shape (64,), which are no images, not 1; "
                "remove it"
            ),
        ),
        (
            (1, 8, 3),
            3,
            "train.shift must be less than the 8 x 3 pixels of an image, not 3; lower it",
        ),
    ],
)
def test_sentences(shape: tuple[int, ...], most: int, sentence: str) -> None:
    with pytest.raises(BadInputError) as caught:
        check_shift(shape, most)
    assert str(caught.value) == sentence


def test_no_shift_is_always_allowed() -> None:
    check_shift((64,), 0)
    check_shift((1, 2, 2), 1)
