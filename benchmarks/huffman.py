"""How many bits values take in Huffman's code (D. Huffman, Proc. IRE 40, 1952)."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["coded_bits"]


def coded_bits(values: NDArray[np.int64]) -> int:
    """Count the bits of values in the best code of a whole number of bits each, short of its table.

    Each step joins the two rarest groups, which makes the codes of all their values a bit longer.

    Examples
    --------
    >>> coded_bits(np.array([7, 7, 7, 7, 7, 1, 1, 3]))  # 5 of 1 bit, 3 of 2
    11
    """
    heap = np.unique_counts(values).counts.tolist()
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        bits += joined
        heapq.heappush(heap, joined)
    return bits
