"""What refuse_other_ops lets through, and what it says."""

import pytest

from detect_faces import UserError
from detect_faces.model_gate import TENSORFLOW_OPS, refuse_other_ops, shown


def test_lets_what_is_allowed_through():
    refuse_other_ops("m.pb", [], frozenset())
    refuse_other_ops("m.pb", [("Conv2D", "a"), ("Const", "b")], TENSORFLOW_OPS)


def test_names_the_first_other_operation_its_node_and_the_way_out():
    with pytest.raises(UserError, match=r"^m\.pb: refused: node b/c does ReadFile, .*; --trust"):
        refuse_other_ops("m.pb", [("Conv2D", "a"), ("ReadFile", "b/c"), ("PyFunc", "d")], TENSORFLOW_OPS)
    with pytest.raises(UserError, match=r"; do something else$"):
        refuse_other_ops("m.pb", [("ReadFile", "b")], TENSORFLOW_OPS, "do something else")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scope/Conv2D", "scope/Conv2D"),
        ("a\nerror: b", r"a\nerror: b"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\u202e", r"\u202e"),
        ("\udcff", r"\udcff"),
        ("x" * 300, "x" * 200 + "..."),
    ],
)
def test_names_are_shown_on_one_line(name, expected):
    assert shown(name) == expected
