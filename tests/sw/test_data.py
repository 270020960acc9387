"""The handwritten digits and their fixed split."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from secateur import data
from secateur.data import Dataset, Split
from secateur.errors import BadInputError
from secateur.settings import DataSettings


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load(DataSettings())


def test_every_example_is_in_one_split(digits: Dataset) -> None:
    splits = (digits.train, digits.validation, digits.test)
    assert [len(split) for split in splits] == [1085, 357, 355]
    pixels, labels = load_digits(return_X_y=True)
    together = np.concatenate([np.column_stack([split.x * 16, split.labels]) for split in splits])
    want = np.column_stack([pixels, labels])
    assert np.array_equal(together[np.lexsort(together.T[::-1])], want[np.lexsort(want.T[::-1])])


def test_split_is_by_order_within_the_class(digits: Dataset) -> None:
    pixels, labels = load_digits(return_X_y=True)
    threes = pixels[labels == 3]
    test = digits.test.x[digits.test.labels == 3] * 16
    assert np.array_equal(test, threes[4::5])
    for split, part in ((digits.train, 0.6), (digits.validation, 0.2), (digits.test, 0.2)):
        shares = np.bincount(split.labels) / np.bincount(labels)
        assert np.all(abs(shares - part) < 0.01)


def test_types_and_units(digits: Dataset) -> None:
    assert (digits.train.x.dtype, digits.train.labels.dtype) == (np.float32, np.int64)
    assert (digits.features, digits.classes) == (64, 10)
    assert (digits.train.x.min(), digits.train.x.max()) == (0.0, 1.0)


def test_digest_covers_every_example(digits: Dataset) -> None:
    assert digits.digest == data.load(DataSettings()).digest
    x = digits.test.x.copy()
    x[-1, -1] += 1
    changed = Dataset("digits", digits.train, digits.validation, Split(x, digits.test.labels))
    assert changed.digest != digits.digest


def test_accuracy() -> None:
    split = Split(np.zeros((4, 1), np.float32), np.array([0, 1, 2, 0]))
    outputs = np.array([[5, 5, 5], [0, 7, 7], [1, 1, 1], [-3, -2, -3]])
    assert split.accuracy(outputs) == 0.5
    assert split.head(2).accuracy(outputs[:2]) == 1.0
    assert len(split.head(None)) == 4
    for wrong, examples in ((split, outputs[:3]), (split.head(0), outputs[:0])):
        with pytest.raises(BadInputError) as caught:
            wrong.accuracy(examples)
        assert str(caught.value) == (
            f"outputs must be one row for each of {len(wrong)} examples, at least one, "
            f"not {examples.shape}"
        )
