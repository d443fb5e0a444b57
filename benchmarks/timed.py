"""The time that calls of a function take, while other code makes them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Clock = Callable[[], float]


@contextmanager
def timed(owner: object, name: str, clock: Clock) -> Iterator[list[float]]:
    """The seconds that each call of owner.name takes: a list that grows while the context is open."""
    function: Callable = getattr(owner, name)
    seconds: list[float] = []

    def call(*args, **kwargs):
        start = clock()
        try:
            return function(*args, **kwargs)
        finally:
            seconds.append(clock() - start)

    setattr(owner, name, call)
    try:
        yield seconds
    finally:
        setattr(owner, name, function)
