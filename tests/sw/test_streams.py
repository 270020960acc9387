import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.streams import cut, decode_matrix, encode_matrix

LANES = st.sampled_from([1, 2, 4, 8])


@st.composite
def matrices(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns = draw(st.integers(1, 90)), draw(st.integers(1, 12))
    matrix = rng.integers(-(2**15), 2**15, (rows, columns))
    matrix[rng.random(matrix.shape) >= draw(st.sampled_from([0, 0.02, 0.1, 0.5, 1]))] = 0
    order = rng.permutation(rows) if draw(st.booleans()) else None
    return matrix, order


def entry_by_entry(matrix, pes, lanes, index_width, order):
    """The format, one entry at a time: an independent reading of EIE, section III-B."""
    rows, columns = matrix.shape
    order = range(rows) if order is None else order
    groups = pes // lanes
    weights, zeros, counts = [], [], []
    for pe in range(pes):
        weights.append([])
        zeros.append([])
        counts.append([])
        mine = order[pe // lanes :: groups]
        for word in range(-(-columns // lanes)):
            column = word * lanes + pe % lanes
            skipped, before = 0, len(weights[pe])
            for row in mine if column < columns else ():
                if matrix[row, column]:
                    weights[pe].append(matrix[row, column])
                    zeros[pe].append(skipped)
                    skipped = 0
                    continue
                skipped += 1
                if (
                    skipped == 2**index_width
                    and matrix[mine, column][list(mine).index(row) :].any()
                ):
                    weights[pe].append(0)
                    zeros[pe].append(2**index_width - 1)
                    skipped = 0
            counts[pe].append(len(weights[pe]) - before)
    return weights, zeros, counts


@settings(max_examples=200, deadline=None)
@given(matrices(), st.integers(1, 30), LANES, st.integers(1, 8))
def test_decode_undoes_encode(case, groups, lanes, index_width):
    matrix, order = case
    size = {"pes": groups * lanes, "lanes": lanes}
    streams = encode_matrix(matrix, **size, index_width=index_width, order=order)
    decoded = decode_matrix(streams, lanes=lanes, shape=matrix.shape, order=order)
    np.testing.assert_array_equal(decoded, matrix)
    assert streams.entries - streams.padding == np.count_nonzero(matrix)
    assert all(np.all((z >= 0) & (z < 1 << index_width)) for z in streams.zeros)


@settings(max_examples=50, deadline=None)
@given(matrices(), st.integers(1, 12), LANES, st.integers(1, 5))
def test_streams_are_those_of_the_format(case, groups, lanes, index_width):
    matrix, order = case
    size = {"pes": groups * lanes, "lanes": lanes}
    streams = encode_matrix(matrix, **size, index_width=index_width, order=order)
    got = (
        [weights.tolist() for weights in streams.weights],
        [zeros.tolist() for zeros in streams.zeros],
        streams.counts.tolist(),
    )
    assert got == entry_by_entry(matrix, groups * lanes, lanes, index_width, order)


def test_example_of_the_paper():
    column = np.array([[0, 0, 1, 2, *[0] * 18, 3]]).T
    streams = encode_matrix(column, pes=1, index_width=4)
    assert streams.weights[0].tolist() == [1, 2, 0, 3]
    assert streams.zeros[0].tolist() == [2, 0, 15, 2]
    assert (streams.entries, streams.padding) == (4, 1)


@pytest.mark.parametrize(
    ("gap", "zeros"), [(15, [15]), (16, [15, 0]), (31, [15, 15]), (32, [15, 15, 0])]
)
def test_padding_begins_where_the_index_ends(gap, zeros):
    column = np.zeros((gap + 1, 1), dtype=np.int64)
    column[gap] = 7
    streams = encode_matrix(column, pes=1, index_width=4)
    assert streams.zeros[0].tolist() == zeros
    assert streams.weights[0].tolist() == [0] * (len(zeros) - 1) + [7]


@given(matrices(), st.integers(1, 8))
def test_padding_is_counted_without_the_streams(case, index_width):
    matrix, _ = case
    row, column = np.nonzero(matrix)
    slices = cut(matrix[row, column], row, column, shape=matrix.shape, pes=6, lanes=2)
    assert slices.padding(index_width) == slices.streams(index_width).padding


def test_more_pes_than_rows_leave_empty_streams():
    streams = encode_matrix(np.array([[5], [6]]), pes=4, index_width=4)
    assert [weights.tolist() for weights in streams.weights] == [[5], [6], [], []]
    assert streams.counts.tolist() == [[1], [1], [0], [0]]


def test_an_entry_outside_the_matrix_is_an_error():
    streams = encode_matrix(np.ones((4, 1), dtype=np.int64), pes=1, index_width=4)
    with pytest.raises(IndexError):
        decode_matrix(streams, shape=(3, 1))
