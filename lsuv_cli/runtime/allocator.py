"""The C library's allocator, where it is glibc's."""

from __future__ import annotations

import ctypes
import sys

M_MMAP_THRESHOLD = -3
LARGE_BYTES = 1 << 20


def return_large_blocks() -> None:
    """Make the allocator return every large block to the system as soon as it is freed.

    Otherwise glibc keeps freed blocks of up to 32 MB, for each thread separately: batch after
    batch, more memory that nobody uses. Returning them costs no measurable time.
    """
    if sys.platform == "linux":
        set_option = getattr(ctypes.CDLL(None), "mallopt", None)
        if set_option is not None:  # musl has none
            set_option(M_MMAP_THRESHOLD, LARGE_BYTES)
