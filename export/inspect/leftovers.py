"""What training leaves behind, by the names of variables: optimizer slots, moving averages, counters."""

import re
from collections import Counter
from collections.abc import Iterable

KINDS = {
    "moving averages of weights": r"/ExponentialMovingAverage(_\d+)?$|/average(/\.ATTRIBUTES|$)|"
    r"^averages/\d+/",  # a state of training/learner.py
    "optimizer slots": r"/(Adam|Adam_1|Momentum|RMSProp|RMSProp_1|Adagrad|Ftrl|Ftrl_1)$|\.OPTIMIZER_SLOT|"
    r"(^|/)(_?optimizer)/(?!(_?iterations|iter|learning_rate))",
    "step and other counters": r"(^|/)(global_step|save_counter|step|iter|_?iterations|beta[12]_power|learning_rate|"
    r"beta_[12]|decay|momentum)(/\.ATTRIBUTES/VARIABLE_VALUE)?$",
}


def leftover_kind(name: str) -> str | None:
    """The kind of leftover that a variable is; None for one of the network.

    >>> leftover_kind("Conv/weights/Adam_1"), leftover_kind("Conv/weights")
    ('optimizer slots', None)
    """
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name)), None)


def leftovers(names: Iterable[str]) -> dict[str, int]:
    """How many there are of each kind."""
    return dict(Counter(kind for name in names if (kind := leftover_kind(name))))
