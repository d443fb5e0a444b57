"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from training import malloc

if sys.argv[1] == "keep" and not malloc.keep_freed_memory():
    sys.exit("not glibc")
for _ in range(2):  # the first makes the memory the process's
    np.ones(64 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(64 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True)
    if "not glibc" in done.stderr:
        pytest.skip("another C library than glibc")
    return int(done.stdout)


def test_blocks_are_taken_again_without_a_page_fault():
    assert page_faults("keep") < 100 < page_faults("default")
