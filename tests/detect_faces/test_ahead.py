"""Decoding beside the network: order, bounds, errors, and what never comes back."""

import itertools
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detect_faces.ahead import Ahead
from detect_faces.errors import UserError


def outcomes(ahead: Ahead) -> list:
    return [str(result) if isinstance(result, UserError) else result for _, result in ahead]


def prepared(item):
    return 1, lambda: item * 10


@settings(max_examples=60)
@given(
    needs=st.lists(st.integers(0, 30), max_size=25),
    fails=st.sets(st.integers(0, 24)),
    late=st.sets(st.integers(0, 24)),
    threads=st.integers(1, 4),
    results=st.integers(1, 5),
    budget=st.integers(1, 40),
)
def test_order_is_kept_and_everything_comes_out(needs, fails, late, threads, results, budget):
    def prepare(item):
        if item in fails and item not in late:
            raise UserError(f"{item} is bad")

        def finish():
            if item in fails:
                raise UserError(f"{item} is bad")
            return item * 10

        return needs[item], finish

    ahead = Ahead(range(len(needs)), prepare, threads=threads, results=results, budget=budget)
    assert outcomes(ahead) == [f"{i} is bad" if i in fails else i * 10 for i in range(len(needs))]


def test_memory_stays_flat():
    alive, most = set(), []

    def finish(item):
        image = np.zeros((10, 10, 3), np.uint8)
        alive.add(item)
        weakref.finalize(image, alive.discard, item)
        most.append(len(alive))
        return image

    for _, image in Ahead(range(500), lambda item: (300, lambda: finish(item)), threads=2, results=4, budget=900):
        assert image.shape == (10, 10, 3)
        del image
    assert len(most) == 500
    assert max(most) <= 3  # 900 bytes are three images


def test_bytes_that_are_decoded_at_once_stay_in_the_budget():
    lock, used, most = threading.Lock(), [0], []

    def prepare(item):
        need = 1 + item * 37 % 50

        def finish():
            with lock:
                used[0] += need
                most.append(used[0])
            return need

        return need, finish

    for _, need in Ahead(range(200), prepare, threads=3, results=6, budget=100):
        with lock:
            used[0] -= need
    assert 50 < max(most) <= 100


def test_what_takes_more_than_the_budget_comes_alone():
    assert outcomes(Ahead(range(6), lambda item: (1000, lambda: item), threads=2, budget=10)) == list(range(6))


def test_items_are_taken_as_there_is_room():
    taken = []

    def items():
        for number in itertools.count():
            taken.append(number)
            yield number

    ahead = iter(Ahead(items(), prepared, threads=2, results=4))
    assert [next(ahead)[1] for _ in range(10)] == [number * 10 for number in range(10)]
    assert len(taken) <= 10 + 4
    ahead.close()


@pytest.mark.parametrize("step", ["prepare", "finish"])
@pytest.mark.parametrize("threads", [1, 2])
def test_what_takes_too_long_is_an_error_and_the_rest_is_done(step, threads):
    never = threading.Event()

    def prepare(item):
        if item == 1 and step == "prepare":
            never.wait()
        return 100, lambda: never.wait() if item == 1 else item * 10

    ahead = Ahead(range(5), prepare, threads=threads, budget=100, seconds=0.2)
    assert outcomes(ahead) == [0, "1: takes longer than the limit of 0.2 s", 20, 30, 40]
    never.set()


def test_a_slow_consumer_is_not_a_slow_image():
    ahead = Ahead(range(4), lambda item: (100, lambda: item), threads=2, budget=100, seconds=0.05)
    done = []
    for _, result in ahead:
        threading.Event().wait(0.15)
        done.append(result)
    assert done == [0, 1, 2, 3]


def test_other_errors_are_raised_where_the_results_are_used():
    def items():
        yield 1
        raise OSError("the list is gone")

    def broken(item):
        raise ZeroDivisionError

    with pytest.raises(OSError, match="the list is gone"):
        outcomes(Ahead(items(), prepared))
    with pytest.raises(ZeroDivisionError):
        outcomes(Ahead([1], broken))


def test_threads_end_with_the_loop():
    before = threading.active_count()
    for _ in Ahead(itertools.count(), prepared, threads=3):
        break
    for thread in threading.enumerate():
        if thread.daemon and thread.name.startswith("Thread-"):
            thread.join(5)
    assert threading.active_count() <= before
