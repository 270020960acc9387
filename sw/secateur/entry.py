"""One word of a PE's weight memory: the code below, the count of zeros above it.

How many of an entry's bits are the code is each layer's own (``docs/format.md``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["pack_entries", "unpack_entries"]


def pack_entries(
    codes: NDArray[np.int64], zeros: NDArray[np.int64], *, code_width: int
) -> NDArray[np.int64]:
    """Put codes and counts of zeros into entries.

    Parameters
    ----------
    codes : int64[count]
        Weights in ``code_width`` bits, two's complement, or indices into a codebook.
    zeros : int64[count]
    code_width : int
        Bits of the layer's codes.

    Returns
    -------
    int64[count]
        Not negative.

    Examples
    --------
    >>> import numpy as np
    >>> pack_entries(np.array([-2, 3]), np.array([0, 5]), code_width=4).tolist()
    [14, 83]
    """
    return (codes & ((1 << code_width) - 1)) | (zeros << code_width)


def unpack_entries(
    entries: NDArray[np.int64], *, code_width: int, signed: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Undo :func:`pack_entries`.

    Parameters
    ----------
    entries : int64[count]
    code_width : int
        Bits of the layer's codes.
    signed : bool
        Whether codes are weights, in two's complement.

    Returns
    -------
    codes, zeros : int64[count]

    Examples
    --------
    >>> import numpy as np
    >>> codes, zeros = unpack_entries(np.array([14, 83]), code_width=4, signed=True)
    >>> codes.tolist(), zeros.tolist()
    ([-2, 3], [0, 5])
    """
    codes = entries & ((1 << code_width) - 1)
    if signed:
        sign = 1 << (code_width - 1)
        codes = (codes ^ sign) - sign
    return codes, entries >> code_width
