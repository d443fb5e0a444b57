"""Shim: np.int and np.float, which NumPy 1.24 removed.

Why: the OD API's MobileNetV3 and its Pascal VOC and Open Images metrics still say `np.int` and `np.float`. `np.bool`
and `np.object` must not be aliased: NumPy 2 has a `np.bool` of its own.
Can go when: the OD API says `int` and `float`.
"""

import numpy as np


def install() -> None:
    for alias in (int, float):
        if alias.__name__ not in vars(np):
            setattr(np, alias.__name__, alias)
