"""Which evaluation was the best, and when a run stops."""

import doctest

import pytest

from training import selection
from training.selection import Standing, standing

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "history, expected",
    [
        ([], Standing()),
        ([(200, 0.3)], Standing(1, 200, 200, 0.3, 0)),
        ([(200, 0.0)], Standing(1, 200, 200, 0.0, 0)),
        ([(200, 0.3), (400, 0.4)], Standing(2, 400, 400, 0.4, 0)),
        ([(200, 0.4), (400, 0.3), (600, 0.2)], Standing(3, 600, 200, 0.4, 2)),
        # of equal ones the earlier
        ([(200, 0.4), (400, 0.4)], Standing(2, 400, 200, 0.4, 1)),
        ([(200, 0.1), (400, 0.4), (600, 0.3), (800, 0.4)], Standing(4, 800, 400, 0.4, 2)),
        # without a figure
        ([(200, None)], Standing(1, 200)),
        ([(200, None), (400, NAN), (600, INF)], Standing(3, 600)),
        ([(200, None), (400, 0.1)], Standing(2, 400, 400, 0.1, 0)),
        ([(200, NAN), (400, 0.1), (600, NAN), (800, None)], Standing(4, 800, 400, 0.1, 2)),
        # a step that was evaluated again, and steps out of order
        ([(200, 0.5), (400, 0.3), (200, 0.2)], Standing(2, 400, 400, 0.3, 0)),
        ([(400, 0.3), (200, 0.5)], Standing(2, 400, 200, 0.5, 1)),
    ],
)
def test_standing(history, expected):
    assert standing(history) == expected
    assert expected.improved == (expected.best_step is not None and expected.best_step == expected.last_step)


@pytest.mark.parametrize(
    "values, patience, stops",
    [
        ([], 1, False),
        ([0.1], 1, False),
        ([0.1, 0.2], 1, False),
        ([0.2, 0.1], 1, True),
        ([0.2, 0.2], 1, True),  # equal is not better
        ([0.2, 0.1], 2, False),
        ([0.2, 0.1, 0.1], 2, True),
        ([0.2, 0.1, 0.1, 0.1], 2, True),  # an earlier patience was larger
        ([0.2, 0.1, 0.3, 0.1], 2, False),
        ([0.2, None, NAN], 2, True),
        ([0.2, 0.1, 0.1, 0.1, 0.1], 0, False),  # 0: never
        ([None, None, None], 1, False),  # nothing to compare
        ([None, None, 0.1], 1, False),
    ],
)
def test_stopping(values, patience, stops):
    assert standing(enumerate(values)).should_stop(patience) is stops


def test_stopping_comes_after_exactly_patience_evaluations():
    values = [0.1, 0.3, 0.2, 0.25, 0.3, 0.1, 0.5]
    stopped = [n for n in range(1, len(values) + 1) if standing(enumerate(values[:n])).should_stop(3)]
    assert stopped == [5, 6]  # and not with the 7th, which is better


def test_the_message_of_a_stop():
    history = [(200 * i, 0.412 if i == 4 else 0.3) for i in range(1, 10)]
    assert standing(history).why_stopped("AP50", 5) == (
        "step 800 was the best of 9 evaluations (AP50 0.412); the last 5 were not better, so training stopped at step "
        "1,800; --set trainer.patience=10 goes on longer, --set trainer.patience=0 to the last step"
    )
    assert "; the last one was not better, so" in standing([(1000, 0.5), (2000, 0.4)]).why_stopped("AP", 1)


@pytest.mark.parametrize(
    "history, message",
    [
        ([], "there was no evaluation"),
        ([(1500, 0.25)], "step 1,500 was the best of 1 evaluation (AP 0.250)"),
        ([(1, None), (2, None)], "there is no best step: AP of 2 evaluations is no number; "),
    ],
)
def test_summary(history, message):
    assert standing(history).summary("AP").startswith(message)


def test_examples():
    assert doctest.testmod(selection) == (0, 1)
