"""Label maps: ours, the OD API's reading of them, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect_faces.errors import UserError
from tools import label_map


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("maps") / "label_map.pbtxt"


def test_the_project_s_own():
    assert label_map.read(Path(__file__).parents[2] / "data" / "label_map.pbtxt") == {"face": 1}


@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, unique=True))
def test_round_trip(path, names):
    written = {name: number for number, name in enumerate(names, 1)}
    label_map.write(path, written)
    assert label_map.read(path) == written


def test_the_od_api_reads_it(path):
    od_api = pytest.importorskip("training.od_api")
    od_api.install()
    from object_detection.utils import label_map_util

    label_map.write(path, {"face": 1, "Gesicht \u00fc": 3}, {"face": "Human face"})
    assert label_map_util.get_label_map_dict(str(path)) == {"face": 1, "Gesicht \u00fc": 3}
    assert label_map_util.get_label_map_dict(str(path), use_display_name=True)["Human face"] == 1


def test_fields_that_we_do_not_use_are_passed_over(path):
    path.write_text(
        "item { name: '/m/0dzct' id: 7 frequency: FREQUENT keypoints { id: 1 label: 'eye' } ancestor_ids: 'x' }"
    )
    assert label_map.read(path) == {"/m/0dzct": 7}


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no item"),
        ('item {\n  id: 1\n  name: "face\n}', "line 3: not a label map"),
        ("item {\n  id: one\n}", "line 2: not a label map"),
        ('item { id: 0 name: "face" }', r"item 1 \('face'\): id must be 1 or more"),
        ("item { id: 1 }", "item 1: has no name"),
        ('item { id: 1 name: "a" } item { id: 1 name: "b" }', "item 2 .*the id 1 is there twice"),
        ('item { id: 1 name: "a" } item { id: 2 name: "a" }', "item 2: the name 'a' is there twice"),
    ],
)
def test_refused(path, text, message):
    path.write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        label_map.read(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        label_map.read(tmp_path / "none.pbtxt")
