"""The Internet checksum (RFC 1071) of many packets at once.

The packets are rows of a matrix of 32-bit words, read as the machine does, which is little-endian.
2**16 is 1 modulo 65535, so that words of any width add up to the same; and the sum is the same in
either byte order, if it is written back as it was read (RFC 1071, 2B).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
Sums = npt.NDArray[np.int64]


def sums(words: Words) -> Sums:
    """Each row's sum, unreduced: a row of 64 KB stays below 2**46."""
    totals: Sums = np.add.reduce(words, 1, np.int64)
    return totals


def checksums(totals: Sums) -> Sums:
    """What has to be added to make each sum 0 modulo 65535: the checksum, or 0 if it is there."""
    return -totals % 65535


def swapped(number: int) -> int:
    """What a 16-bit number in network order adds to a sum of words read as the machine does."""
    return number << 8
