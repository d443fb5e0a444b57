"""Memory that a training step frees stays with the process, for the next step to take.

By default glibc gives large blocks back to the kernel as soon as they are free, and gets them again, page by page and
zeroed, a moment later: 25,000 page faults an image with SSDLite at 320 px. Source: mallopt(3).
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1  # bytes; mallopt takes an int


def keep_freed_memory() -> bool:
    """Has malloc keep what is freed. Returns whether this C library can."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library than glibc
        return False
    return all(mallopt(option, _LARGEST) == 1 for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
