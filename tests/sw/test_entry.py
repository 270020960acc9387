import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from secateur.entry import pack_entries, unpack_entries


@given(st.data(), st.integers(1, 16), st.integers(1, 8), st.booleans())
def test_unpack_undoes_pack(data, code_width, index_width, signed):
    low = -(1 << (code_width - 1)) if signed else 0
    high = low + (1 << code_width) - 1
    count = data.draw(st.integers(0, 5))
    size = {"min_size": count, "max_size": count}
    codes = np.array(data.draw(st.lists(st.integers(low, high), **size)), dtype=np.int64)
    most = (1 << index_width) - 1
    zeros = np.array(data.draw(st.lists(st.integers(0, most), **size)), dtype=np.int64)
    entries = pack_entries(codes, zeros, code_width=code_width)
    expected = [
        (code % 2**code_width) + 2**code_width * zero
        for code, zero in zip(codes.tolist(), zeros.tolist(), strict=True)
    ]
    assert entries.tolist() == expected
    assert all(0 <= entry < 1 << (code_width + index_width) for entry in expected)
    got = unpack_entries(entries, code_width=code_width, signed=signed)
    np.testing.assert_array_equal(got[0], codes)
    np.testing.assert_array_equal(got[1], zeros)
