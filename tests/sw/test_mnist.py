"""MNIST: its files, those that are missing, damaged or downloaded, and its splits."""

import functools
import gzip
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur import data, mnist
from secateur.dataset import Dataset
from secateur.errors import BadInputError
from secateur.progress import silent
from secateur.settings import DataSettings

NAMES = tuple(mnist.FILES)
LABELS = np.array([3, 3, 7, 3, 7, 7, 3, 3, 7, 3])


def idx(array: np.ndarray) -> bytes:
    """Write the format that :func:`secateur.mnist.parse` reads."""
    axes = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return b"\0\0\x08" + bytes([array.ndim]) + axes + array.astype(np.uint8).tobytes()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files of ten images, whose digests are the right ones."""
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    images = np.arange(10 * 784).reshape(10, 28, 28) % 256
    files = dict(zip(NAMES, (images, LABELS, images[:4], LABELS[:4]), strict=True))
    for name, array in files.items():
        content = gzip.compress(idx(array))
        (folder / name).write_bytes(content)
        monkeypatch.setitem(mnist.FILES, name, hashlib.sha256(content).hexdigest())
    monkeypatch.setenv("SECATEUR_DATA", str(tmp_path / "data"))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no other place for data."""
    monkeypatch.delenv("SECATEUR_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "secateur" / "mnist"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(small: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve the small files; the fixture ``cache`` has taken their variable away."""
    handler = functools.partial(Quiet, directory=str(small))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setattr(mnist, "MIRROR", f"http://127.0.0.1:{server.server_port}/")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield small
        server.shutdown()
        thread.join()


def refused(validation: int = 0) -> str:
    with pytest.raises(BadInputError) as caught:
        mnist.load(validation)
    return str(caught.value)


def test_small_files(small: Path) -> None:
    """Pixels in their order, 255 as exactly one; validation has its share of each class."""
    dataset = mnist.load(5)
    pixels = (np.arange(10 * 784) % 256 / 255).astype(np.float32).reshape(10, 1, 28, 28)
    train, apart = [0, 2, 3, 5, 7], [1, 4, 6, 8, 9]
    assert sorted(train + apart) == list(range(10))
    for split, members in (
        (dataset.train, train),
        (dataset.validation, apart),
        (dataset.test, range(4)),
    ):
        assert np.array_equal(split.x, pixels[members])
        assert split.labels.tolist() == LABELS[members].tolist()
        assert (split.x.dtype, split.labels.dtype) == (np.float32, np.int64)
        assert split.x.flags.c_contiguous
    assert (dataset.name, dataset.shape, dataset.features) == ("mnist", (1, 28, 28), 784)


def test_no_validation(small: Path) -> None:
    dataset = mnist.load(0)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [10, 0, 4]
    assert np.array_equal(dataset.watched.x, dataset.train.x)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60).flatmap(
        lambda labels: st.tuples(st.just(labels), st.integers(0, len(labels)))
    )
)
def test_each_class_gives_its_share(case: tuple[list[int], int]) -> None:
    labels, count = np.array(case[0]), case[1]
    apart = mnist.watched(labels, count)
    assert apart.sum() == count
    for label in np.unique(labels):
        share = count * np.mean(labels == label)
        assert abs(apart[labels == label].sum() - share) < 1


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file(small: Path, name: str) -> None:
    (small / name).unlink()
    assert refused() == (
        f"{small / name} cannot be read (No such file or directory); copy MNIST's {name} there, or "
        f"unset SECATEUR_DATA to have it downloaded"
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["empty", "short", "changed"])
def test_a_damaged_file(small: Path, name: str, damage: str) -> None:
    whole = (small / name).read_bytes()
    changed = {"empty": b"", "short": whole[:-1], "changed": whole[:-1] + bytes([whole[-1] ^ 1])}
    (small / name).write_bytes(changed[damage])
    assert refused() == (
        f"{small / name} is not MNIST's, whose SHA-256 begins with {mnist.FILES[name][:8]}; copy "
        f"the right one there, or unset SECATEUR_DATA to have it downloaded"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is no array of bytes in the idx format"),
        (b"\0\0\x08", "it is no array of bytes in the idx format"),
        (b"\0\0\x0d\1\0\0\0\1\0", "it is no array of bytes in the idx format"),
        (b"\0\0\x08\1\0\0\0\2\0", "it must have 2 elements after its header"),
        (b"\0\0\x08\1\0\0\0\1\0\0", "it must have 1 elements after its header"),
        (b"\0\0\x08\3" + b"\xff" * 12, f"it must have {(2**32 - 1) ** 3} elements"),
        (b"\0\0\x08\2\0\0\0\0", "it must have 0 elements after its header"),
    ],
)
def test_what_is_no_idx(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^it ") as caught:
        mnist.parse(content)
    assert str(caught.value).startswith(reason)


def test_a_download(mirror: Path, cache: Path) -> None:
    """Each file once; a damaged one again; what is in the cache needs no network."""
    told: list[tuple[int, int, str]] = []

    def progress(done: int, total: int, note: str) -> None:
        told.append((done, total, note))

    first = mnist.load(5, progress)
    assert told == [(at, 4, f"downloading {name}") for at, name in enumerate(NAMES)]
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == {
        path.name: path.read_bytes() for path in mirror.iterdir()
    }
    (cache / NAMES[2]).write_bytes(b"damaged")
    told.clear()
    second = mnist.load(5, progress)
    assert told == [(2, 4, f"downloading {NAMES[2]}")]
    for path in mirror.iterdir():
        path.unlink()
    third = mnist.load(5, silent)
    for dataset in (second, third):
        assert np.array_equal(dataset.train.x, first.train.x)
        assert np.array_equal(dataset.test.x, first.test.x)


def test_a_download_that_fails(mirror: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sentence(name: str, reason: str) -> str:
        return (
            f"{cache / name} cannot be downloaded from {mnist.MIRROR} ({reason}); copy it there, "
            f"or set SECATEUR_DATA to a folder with mnist/{name}"
        )

    (mirror / NAMES[1]).write_bytes(b"something else")
    said = refused()
    assert said.startswith(sentence(NAMES[1], "").partition("()")[0])
    assert f"SHA256 hash of downloaded file ({NAMES[1]}) does not match" in said
    assert [path.name for path in cache.iterdir()] == [NAMES[0]]
    (mirror / NAMES[1]).unlink()
    url = mnist.MIRROR + NAMES[1]
    assert refused() == sentence(NAMES[1], f"404 Client Error: File not found for url: {url}")
    monkeypatch.setattr(mnist, "MIRROR", "http://127.0.0.1:9/")  # nobody answers there
    assert "\n" not in refused()
    cache.parent.chmod(0o755)
    (cache / NAMES[0]).unlink()
    cache.rmdir()
    cache.write_text("a file")
    assert refused().startswith(f"{cache / NAMES[0]} cannot be downloaded from {mnist.MIRROR} (")


def test_where_the_files_are(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mnist.folder() == cache
    monkeypatch.setenv("SECATEUR_DATA", "")  # as if it were not set
    assert mnist.folder() == cache
    monkeypatch.setenv("SECATEUR_DATA", "some/where")
    assert mnist.folder() == Path("some/where/mnist")


@pytest.fixture(scope="module")
def whole() -> Dataset:
    return data.require(DataSettings(name="mnist"))


@pytest.mark.mnist
def test_the_real_ones(whole: Dataset) -> None:
    parts = (whole.train, whole.validation, whole.test)
    assert [len(part) for part in parts] == [55_000, 5_000, 10_000]
    assert (whole.shape, whole.classes) == ((1, 28, 28), 10)
    assert whole.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # Counts of each digit as in the statistics that are printed everywhere.
    both = np.concatenate([whole.train.labels, whole.validation.labels])
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(both).tolist() == counts
    assert all(abs(np.bincount(whole.validation.labels) - np.array(counts) / 12) < 1)
    assert (whole.train.x.min(), whole.train.x.max()) == (0.0, 1.0)
    pixels = [*whole.train.x, *whole.validation.x]
    assert round(float(np.mean(pixels, dtype=np.float64)), 4) == 0.1307
