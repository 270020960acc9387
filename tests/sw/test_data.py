"""The handwritten digits and their fixed split."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from secateur import data
from secateur.data import Dataset, Split
from secateur.errors import BadInputError
from secateur.settings import DataSettings


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.require(DataSettings())


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
    assert (digits.shape, digits.features, digits.classes) == ((64,), 64, 10)
    assert (digits.train.x.min(), digits.train.x.max()) == (0.0, 1.0)


def test_digits_as_images(digits: Dataset) -> None:
    images = data.require(DataSettings(name="digits-8x8"))
    assert (images.name, images.shape) == ("digits-8x8", (1, 8, 8))
    for part, other in ((images.train, digits.train), (images.test, digits.test)):
        assert np.array_equal(part.flat, other.x)
        assert np.array_equal(part.labels, other.labels)


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


def arrays() -> dict[str, Any]:
    """Examples of one's own: 6, 3 and 2 of them."""
    rng = np.random.default_rng(1)
    return {
        f"{part}_{kind}": rng.normal(size=(n, 5)) if kind == "x" else np.arange(n) % 3
        for part, n in (("train", 6), ("validation", 3), ("test", 2))
        for kind in ("x", "labels")
    }


def test_a_file_of_examples(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays())
    dataset = data.require(DataSettings(), path)
    assert (dataset.name, dataset.features, dataset.classes) == ("mine", 5, 3)
    for part in data.PARTS:
        split = getattr(dataset, part)
        assert (split.x.dtype, split.labels.dtype) == (np.float32, np.int64)
        assert np.array_equal(split.x, arrays()[f"{part}_x"].astype(np.float32))
        assert np.array_equal(split.labels, arrays()[f"{part}_labels"])


def test_arrays_as_others_write_them(tmp_path: Path) -> None:
    """By columns, and with the header of the format's second version."""
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays().items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asfortranarray(array), version=(2, 0))
    dataset = data.require(DataSettings(), path)
    assert np.array_equal(dataset.train.x, arrays()["train_x"].astype(np.float32))


def test_a_file_of_images(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    rows = arrays()
    images = {
        name: rows[name].repeat(12, 1).reshape(-1, 3, 5, 4) if name[-1] == "x" else rows[name]
        for name in rows
    }
    np.savez(path, **images)
    dataset = data.require(DataSettings(), path)
    assert (dataset.shape, dataset.features) == ((3, 5, 4), 60)
    assert np.array_equal(dataset.test.x, images["test_x"].astype(np.float32))
    assert np.array_equal(dataset.test.flat, dataset.test.x.reshape(2, 60))


def test_what_is_watched(digits: Dataset) -> None:
    assert digits.watched is digits.validation
    unwatched = Dataset("some", digits.train, digits.validation.head(0), digits.test)
    assert np.array_equal(unwatched.watched.x, digits.train.x)  # there are fewer than 10,000
    many = Split(np.arange(10_001, dtype=np.float32)[:, None], np.zeros(10_001, np.int64))
    unwatched = Dataset("some", many, many.head(0), many)
    assert unwatched.watched.x[:, 0].tolist() == list(range(10_000))


def test_no_examples(tmp_path: Path) -> None:
    assert data.load(DataSettings(name="none")) is None
    with pytest.raises(BadInputError) as caught:
        data.require(DataSettings(name="none"))
    assert str(caught.value) == (
        'data.name must be a set of examples, not "none"; give data.name or data.file'
    )


FINITE = ": train_x must be finite as float32; remove NaN, infinity and numbers beyond 3.4e38"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"test_x": None},
            (
                " must have the arrays train_x, train_labels, validation_x, validation_labels, "
                "test_x, test_labels; add test_x"
            ),
        ),
        (
            {"test_x": np.zeros((2, 4))},
            (
                ": test_x must be numbers [examples, features] or [examples, channels, height, "
                "width], at least one of each and inputs shaped as those of train_x, not (2, 4)"
            ),
        ),
        (
            {"validation_x": np.zeros((0, 5))},
            (
                ": validation_x must be numbers [examples, features] or [examples, channels, "
                "height, width], at least one of each and inputs shaped as those of train_x, not "
                "(0, 5)"
            ),
        ),
        (
            {"test_x": np.zeros((2, 5, 1, 1))},
            (
                ": test_x must be numbers [examples, features] or [examples, channels, height, "
                "width], at least one of each and inputs shaped as those of train_x, not "
                "(2, 5, 1, 1)"
            ),
        ),
        (
            {"train_x": np.zeros((6, 5, 1))},
            (
                ": train_x must be numbers [examples, features] or [examples, channels, height, "
                "width], at least one of each and inputs shaped as those of train_x, not (6, 5, 1)"
            ),
        ),
        (
            {"train_labels": np.zeros(6)},
            (
                ": train_labels must be 6 integers from 0 to 65535, one for each row of train_x, "
                "not float64 (6,)"
            ),
        ),
        (
            {"test_labels": np.array([0])},
            (
                ": test_labels must be 2 integers from 0 to 65535, one for each row of test_x, "
                "not int64 (1,)"
            ),
        ),
        (
            {"test_labels": np.array([0, -1])},
            (
                ": test_labels must be 2 integers from 0 to 65535, one for each row of test_x, "
                "not int64 (2,)"
            ),
        ),
        (
            {"train_x": np.full((6, 5), np.nan)},
            FINITE,
        ),
        ({"train_x": np.full((6, 5), 1e39)}, FINITE),
        (
            {"train_x": np.zeros((6, 0))},
            (
                ": train_x must be numbers [examples, features] or [examples, channels, height, "
                "width], at least one of each and inputs shaped as those of train_x, not (6, 0)"
            ),
        ),
        (
            {"test_labels": np.array([0, 2**63 + 1], np.uint64)},
            (
                ": test_labels must be 2 integers from 0 to 65535, one for each row of test_x, "
                "not uint64 (2,)"
            ),
        ),
        (
            {"test_labels": np.array([0, 65536])},
            (
                ": test_labels must be 2 integers from 0 to 65535, one for each row of test_x, "
                "not int64 (2,)"
            ),
        ),
        (
            {"validation_labels": np.array([0, 3, 1])},
            (
                ": validation_labels hold the class 3, which train_labels lack; give training "
                "examples of it"
            ),
        ),
        *(
            (
                {"train_x": np.ones((6, 5), kind)},
                f": train_x must be real numbers, not {kind}; convert them",
            )
            for kind in ("bool", "complex128")
        ),
    ],
)
def test_files_that_are_refused(tmp_path: Path, change: dict, sentence: str) -> None:
    path = tmp_path / "mine.npz"
    changed = {**arrays(), **change}
    np.savez(path, **{name: array for name, array in changed.items() if array is not None})
    with pytest.raises(BadInputError) as caught:
        data.load(DataSettings(), path)
    assert str(caught.value) == f"{path}{sentence}"


def test_files_that_are_no_arrays(tmp_path: Path) -> None:
    """Text, a truncated file, and pickles, which would run code."""
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays())
    whole = path.read_bytes()
    np.savez(path, **{**arrays(), "test_x": np.array([print], dtype=object)})
    pickled = path.read_bytes()
    for content in (b"", b"text", whole[:100], whole[:-100], pickled):
        path.write_bytes(content)
        with pytest.raises(BadInputError) as caught:
            data.load(DataSettings(), path)
        assert str(caught.value).startswith(f"{path} is not a readable .npz file of numbers (")
        assert str(caught.value).endswith("); write it with numpy.savez")


def npy(header: str) -> bytes:
    """An array of nothing but a header."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


def encrypted(whole: bytes) -> bytes:
    """Set the flag, in every member's header and in the directory."""
    changed = bytearray(whole)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := changed.find(mark, at + 1)) >= 0:
            changed[at + offset] |= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("npy", "File is not a zip file"),
        ("data", "Error -3 while decompressing data: "),
        ("encrypted", "File 'train_x.npy' is encrypted, password required for extraction"),
        ("method", "That compression method is not supported"),
        ("text", "the magic string is not correct; expected b'\\x93NUMPY', got b'hello,'"),
        ("header", "('EOF in multi-line statement', "),
        ("huge", "buffer is smaller than requested size"),
    ],
)
def test_archives_that_are_refused(tmp_path: Path, damage: str, reason: str) -> None:
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, **arrays())
    whole = path.read_bytes()
    members = {
        "text": b"hello, this is no array",
        "header": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2"),
        "huge": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2000000000000,), }"),
    }
    if damage == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif damage == "data":
        start = whole.index(b"train_x.npy") + len(b"train_x.npy") + 20
        path.write_bytes(whole[:start] + b"\xff" * 40 + whole[start + 40 :])
    elif damage == "encrypted":
        path.write_bytes(encrypted(whole))
    elif damage == "method":
        path.write_bytes(whole.replace(b"\x08\x00\x00\x00\x21\x00", b"\x63\x00\x00\x00\x21\x00"))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("train_x.npy", members[damage])
    with pytest.raises(BadInputError) as caught:
        data.load(DataSettings(), path)
    said = str(caught.value)
    assert said.startswith(f"{path} is not a readable .npz file of numbers ({reason}")
    assert said.endswith("); write it with numpy.savez")
    assert "\n" not in said
