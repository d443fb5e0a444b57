"""COCO: flags, bad entries by their ids, bad JSON, bytes of a save, pycocotools and globox as other readers."""

import json
import re
import tracemalloc

import globox
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detect_faces.errors import UserError
from tests.tools.conftest import SHARED
from tools.annotations import FLAGS, AnnotatedImage
from tools.formats import coco, od_api_csv, pascal_voc
from tools.report import Report

IMAGES = [
    {"id": 7, "file_name": "a.jpg", "width": 48, "height": 32},
    {"id": 3, "file_name": "sub/b.png", "width": 100, "height": 50, "license": 1},
]
CATEGORIES = [{"id": 1, "name": "face"}, {"id": 90, "name": "hat", "supercategory": "clothes"}]


@pytest.fixture
def images(tmp_path, picture):
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(picture())
    (folder / "sub" / "b.png").write_bytes(picture(width=100, height=50, form="PNG"))
    return folder


@pytest.fixture
def load(tmp_path, images):
    """A function that writes a file and loads it; text, or the lists of images, annotations and categories."""

    def run(content, classes=None):
        if isinstance(content, dict):
            content = json.dumps({"images": IMAGES, "annotations": [], "categories": CATEGORIES} | content)
        if isinstance(content, str):
            content = content.encode()
        (tmp_path / "coco.json").write_bytes(content)
        lines = []
        report = Report(show=lines.append)
        return list(coco.load(tmp_path / "coco.json", images, classes, report)), report, lines

    return run


def box(**more):
    """An annotation; a key with None is left out."""
    entry = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 10, 12.5]} | more
    return {key: value for key, value in entry.items() if value is not None}


def flags_of(image):
    return {name: values.tolist() for name, values in image.flags.items()}


def test_load(load, images):
    loaded, report, lines = load(
        {
            "annotations": [
                box(id=1, image_id=3, category_id=90, area=3, segmentation=[[1, 2, 3, 4, 5, 6]], iscrowd=0),
                box(id=2, image_id=7),
                box(id="x", image_id=3, bbox=[-5, 0.25, 200, 10]),
                box(id=4, image_id=3, bbox=[3, 3, 0, 9]),
            ],
            "info": {"year": 2017},
        }
    )
    assert [image.name for image in loaded] == ["a.jpg", "sub/b.png"]
    assert loaded[1].source == images / "sub" / "b.png"
    assert (loaded[1].width, loaded[1].height, loaded[1].classes) == (100, 50, ("hat", "face"))
    assert loaded[1].xyxy.tolist() == [[1, 2, 11, 14.5], [-5, 0.25, 195, 10.25]]
    assert flags_of(loaded[0]) == {"ignore": [0], "group_of": [0]}
    assert lines == [] and report.dropped == {"zero size": 1} and report.class_names == {"hat": 1, "face": 3}


@pytest.mark.parametrize(
    "more, expected",
    [
        ({"iscrowd": 1}, {"ignore": 0, "group_of": 1}),
        ({"ignore": 1}, {"ignore": 1, "group_of": 0}),
        ({"ignore": True, "iscrowd": False}, {"ignore": 1, "group_of": 0}),
        ({"ignore": 1, "iscrowd": 1}, {"ignore": 1, "group_of": -1}),
        ({"ignore": 1, "iscrowd": 1, "attributes": {"group_of": 0}}, {"ignore": 1, "group_of": 0}),
        ({"attributes": {"ignore": True}}, {"ignore": 1, "group_of": 0}),
        ({"ignore": 0, "attributes": {"ignore": 1}}, {"ignore": 0, "group_of": 0}),
        (
            {"attributes": {"occluded": True, "truncated": -1, "blur": 2, "colour": "red", "pose": "left"}},
            {"ignore": 0, "group_of": 0, "occluded": 1, "truncated": -1, "blur": 2},
        ),
        ({"attributes": ["not", "ours"]}, {"ignore": 0, "group_of": 0}),
    ],
)
def test_flags(load, more, expected):
    loaded, _, lines = load({"annotations": [box(**more)]})
    assert lines == []
    assert flags_of(loaded[0]) == {name: [value] for name, value in expected.items()}


def test_flags_that_only_some_boxes_have(load):
    attributes = {"occluded": 1, "difficult": 1}
    loaded, _, _ = load({"annotations": [box(), box(id=2, attributes=attributes)]})
    assert flags_of(loaded[0]) == {"ignore": [0, 0], "group_of": [0, 0], "occluded": [-1, 1], "difficult": [0, 1]}


def test_classes(load):
    annotations = [box(), box(id=2, category_id=90)]
    loaded, report, _ = load({"annotations": annotations}, {"hat": "face"})
    assert [image.classes for image in loaded] == [("face",), ()]
    assert report.dropped == {"of another class": 1}


@pytest.mark.parametrize(
    "entry, problem",
    [
        (box(image_id=8), "annotation id 1: there is no image id 8; this box is left out"),
        (box(image_id="7"), "annotation id 1: there is no image id '7'"),
        (box(image_id=None), "annotation id 1: no 'image_id'"),
        (box(image_id=[7]), r"annotation id 1: image_id is \[7\], not an id"),
        (box(category_id=2), "annotation id 1: there is no category id 2"),
        (box(category_id=None), "annotation id 1: no 'category_id'"),
        (box(category_id=True), "annotation id 1: category_id is True, not an id"),
        (box(id=None), "annotation 2 of its list: no 'id'"),
        (box(id=1.5), "annotation 2 of its list: id is 1.5, not an id"),
        (box(id=[]), r"annotation 2 of its list: id is \[\], not an id"),
        (box(id=9), "annotation id 9: the id is there twice"),
        ([1, 2], r"annotation 2 of its list: \[1, 2\] is not an object"),
        (None, "annotation 2 of its list: None is not an object"),
        (box(bbox=None), "annotation id 1: no 'bbox'"),
        (box(bbox="1 2 3 4"), r"annotation id 1: bbox is '1 2 3 4', not \[x, y, width, height\]"),
        (box(bbox=[1, 2, 3]), r"annotation id 1: bbox is \[1, 2, 3\], not"),
        (box(bbox=[1, 2, 3, "4"]), r"annotation id 1: bbox is \[1, 2, 3, '4'\], not"),
        (box(bbox=[1, 2, 3, None]), "annotation id 1: bbox is .*None"),
        (box(bbox=[1, 2, 3, True]), "annotation id 1: bbox is .*True"),
        (box(bbox=[1, 2, -3, 4]), r"annotation id 1: bbox is \[1, 2, -3, 4\]: inverted"),
        (box(bbox=[1, 2, float("nan"), 4]), "annotation id 1: bbox is .*: a side is not a finite number"),
        (box(bbox=[1, 2, float("inf"), 4]), "annotation id 1: bbox is .*: a side is not a finite number"),
        (box(bbox=[1, 2, 10**400, 4]), "annotation id 1: bbox is .*: a side is not a finite number"),
        (box(iscrowd=2), "annotation id 1: iscrowd is 2, not 0 or 1"),
        (box(iscrowd="1"), "annotation id 1: iscrowd is '1', not 0 or 1"),
        (box(ignore=0.5), "annotation id 1: ignore is 0.5, not 0 or 1"),
        (box(attributes={"blur": 3}), "annotation id 1: blur is 3, not 0, 1 or 2"),
        (box(attributes={"occluded": -2}), "annotation id 1: occluded is -2, not -1, 0 or 1"),
    ],
)
def test_bad_annotations_are_named_and_the_rest_is_read(load, entry, problem):
    loaded, report, lines = load({"annotations": [box(id=9), entry, box(id=10)]})
    assert [len(image) for image in loaded] == [2, 0]
    assert report.problems == len(lines) == 1
    assert re.search(f"coco.json, {problem}", lines[0])


@pytest.mark.parametrize(
    "entry, problem",
    [
        ({"id": 1, "file_name": "none.jpg"}, "image id 1: 'none.jpg': no such file"),
        ({"id": 1, "file_name": "../a.jpg"}, "image id 1: '../a.jpg': .*is not a path inside"),
        ({"id": 1, "file_name": "sub\\b.png"}, "image id 1: .*is not a path inside"),
        ({"id": 1, "file_name": "x" * 5000}, "image id 1: .*no such file"),
        ({"id": 1, "file_name": "\ud800.jpg"}, "image id 1: .*no such file"),
        ({"id": 1, "file_name": "sub"}, "image id 1: 'sub': no such file"),
        ({"id": 1, "file_name": "broken.jpg"}, "image id 1: 'broken.jpg': not a JPEG"),
        ({"id": 1, "file_name": "./a.jpg"}, "image id 1: 'a.jpg' is there twice, first as image id 7"),
        ({"id": 1, "file_name": 5}, "image id 1: file_name is 5, not a path"),
        ({"id": 1, "file_name": ""}, "image id 1: file_name is '', not a path"),
        ({"id": 1}, "image id 1: no 'file_name'; the image is left out"),
        ({"id": 7, "file_name": "c.jpg"}, "image id 7: the id is there twice"),
        ({"id": "y\n", "file_name": "no.jpg"}, r"image id 'y\\n': 'no.jpg': no such file"),
        ({"file_name": "c.jpg"}, "image 3 of its list: no 'id'"),
        ({"id": None, "file_name": "c.jpg"}, "image 3 of its list: id is None"),
        ("c.jpg", "image 3 of its list: 'c.jpg' is not an object"),
        ({"id": 1, "file_name": "c.jpg", "width": 40, "height": 32}, "image id 1: 'c.jpg': is 48x32 pixels, its"),
        ({"id": 1, "file_name": "c.jpg", "width": "48"}, r"image id 1: width and height are \['48', 0\], not pixels"),
        ({"id": 1, "file_name": "c.jpg", "width": -48}, "image id 1: width and height are"),
        ({"id": 1, "file_name": "c.jpg", "width": 4.5}, "image id 1: width and height are"),
        ({"id": 1, "file_name": "c.jpg", "width": float("nan")}, "image id 1: width and height are"),
        ({"id": 1, "file_name": "c.jpg", "width": True}, "image id 1: width and height are"),
    ],
)
def test_bad_images_are_named_and_the_rest_is_read(load, images, picture, entry, problem):
    (images / "c.jpg").write_bytes(picture())
    (images / "broken.jpg").write_bytes(b"no picture")
    loaded, report, lines = load({"images": [*IMAGES, entry], "annotations": [box()]})
    assert [len(image) for image in loaded] == [1, 0]
    assert report.problems == len(lines) == 1
    assert re.search(f"coco.json, {problem}", lines[0]) and "\n" not in lines[0]


def test_a_box_of_a_bad_image_is_no_second_problem(load):
    bad = {"id": 1, "file_name": "none.jpg"}
    _, report, _ = load({"images": [*IMAGES, bad], "annotations": [box(image_id=1)]})
    assert report.problems == 1


def test_bad_categories(load):
    categories = [*CATEGORIES, {"id": 1, "name": "other"}, {"id": 5}, {"id": 6, "name": None}, {"name": "x"}]
    loaded, _, lines = load({"categories": categories, "annotations": [box(), box(id=2, category_id=5)]})
    assert loaded[0].classes == ("face",)
    assert [line.split(", ", 1)[1] for line in lines] == [
        "category id 1: the id is there twice; this category is left out",
        "category id 5: no 'name'; this category is left out",
        "category id 6: name is None, not a name; this category is left out",
        "category 6 of its list: no 'id'; this category is left out",
        "annotation id 2: there is no category id 5; this box is left out",
    ]


@pytest.mark.parametrize("stated", [{}, {"width": None, "height": None}, {"width": 0}, {"width": 48.0, "height": 32}])
def test_sizes_need_not_be_stated(load, stated):
    (image,), _, lines = load({"images": [{"id": 7, "file_name": "a.jpg"} | stated]})
    assert (image.width, image.height, lines) == (48, 32, [])


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "coco.json, line 1: not JSON .Expecting value"),
        ('{"images": [],\n"annotations": [}', "coco.json, line 2: not JSON"),
        ("\ufeff{", "coco.json, line 1: not JSON"),
        (b"\xff\xfe\x00\x81", "coco.json: not text"),
        ("[" * 100000, "coco.json: not JSON that can be read .*recursion"),
        ('{"images": ' + "1" * 5000 + "}", "coco.json: not JSON that can be read .*digits"),
        ("[]", "coco.json: a list, as files of results are"),
        ("5", "coco.json: no object"),
        ("null", "coco.json: no object"),
        ("{}", "coco.json: no list 'images' and 'annotations' and 'categories'"),
        ({"annotations": None}, "coco.json: no list 'annotations'"),
        ({"categories": {"1": "face"}}, "coco.json: no list 'categories'"),
        ({"images": []}, "coco.json: its list of images is empty"),
    ],
)
def test_nothing_to_go_on_with(load, text, message):
    with pytest.raises(UserError, match=message) as raised:
        load(text)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400


def test_no_file(images, tmp_path):
    with pytest.raises(UserError, match=r"none.json: No such file or directory; give the path of a COCO"):
        coco.load(tmp_path / "none.json", images, None, Report())
    with pytest.raises(UserError, match="give --images"):
        coco.load(tmp_path / "none.json", None, None, Report())


def test_save(images, tmp_path, picture):
    flags = {
        "ignore": [1, 0, 1, 0],
        "group_of": [0, 1, -1, -1],
        "occluded": [-1, 0, 1, -1],
        "difficult": [0, 0, 0, 1],
    }
    xyxy = [[0, 0, 48, 32], [0.5, 1, 20.25, 30], [20.1, 0, 28.25, 1], [1, 1, 2, 2]]
    first = AnnotatedImage("a.jpg", 48, 32, xyxy, ("face", "ñ", "face", "hat"), images / "a.jpg", flags)
    empty = AnnotatedImage("sub/b.png", 100, 50, [], (), images / "sub" / "b.png")
    bad = AnnotatedImage("bad", 1, 1, [], (), b"no picture")
    held = AnnotatedImage("x/held", 48, 32, [[3, 3, 4, 4]], ("hat",), picture(form="PNG"))
    lines = []
    report = Report(show=lines.append)
    coco.save(iter([first, bad, empty, held]), tmp_path / "out", report)
    assert (report.images, report.boxes, lines) == (3, 5, ["error: bad: not a JPEG, PNG, WebP or BMP image"])
    assert (tmp_path / "out/images/x/held.png").read_bytes() == held.source
    text = (tmp_path / "out" / coco.ANNOTATIONS).read_text()
    content = json.loads(text)
    assert content["images"] == [
        {"id": 1, "file_name": "a.jpg", "width": 48, "height": 32},
        {"id": 2, "file_name": "sub/b.png", "width": 100, "height": 50},
        {"id": 3, "file_name": "x/held.png", "width": 48, "height": 32},
    ]
    assert [(c["id"], c["name"]) for c in content["categories"]] == [(1, "face"), (2, "ñ"), (3, "hat")]
    rows = content["annotations"]
    assert [(row["id"], row["image_id"], row["category_id"]) for row in rows] == [
        (1, 1, 1), (2, 1, 2), (3, 1, 1), (4, 1, 3), (5, 3, 3)
    ]  # fmt: skip
    assert [row["bbox"] for row in rows[:3]] == [[0, 0, 48, 32], [0.5, 1, 19.75, 29], [20.1, 0, 8.15, 1]]
    assert [row["area"] for row in rows[:3]] == [48 * 32, 19.75 * 29, 8.15]
    assert [row["iscrowd"] for row in rows] == [1, 1, 1, 0, 0]
    assert [row.get("ignore") for row in rows] == [1, None, 1, None, None]
    assert [row.get("attributes") for row in rows] == [
        {"difficult": 0, "group_of": 0},
        {"difficult": 0, "occluded": 0},
        {"difficult": 0, "occluded": 1},
        {"difficult": 1},
        None,
    ]
    assert all(row["segmentation"] == [] for row in rows)
    coco.save(iter([first, empty, held]), tmp_path / "again", Report())
    assert (tmp_path / "again" / coco.ANNOTATIONS).read_text() == text
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == [coco.ANNOTATIONS, "images"]


def test_nothing_to_save_keeps_what_was_there(tmp_path):
    (tmp_path / coco.ANNOTATIONS).write_text("kept")
    with pytest.raises(UserError, match="not one good image"):
        coco.save([AnnotatedImage("bad", 1, 1, [], (), b"no picture")], tmp_path, Report(show=[].append))
    assert [path.name for path in tmp_path.iterdir()] == [coco.ANNOTATIONS]
    assert (tmp_path / coco.ANNOTATIONS).read_text() == "kept"


def test_saving_holds_no_images_in_memory(images, tmp_path):
    def many(number):
        for i in range(number):
            yield AnnotatedImage(f"{i}.jpg", 48, 32, np.ones((50, 4)), ("face",) * 50, images / "a.jpg")

    peaks = []
    for number in (30, 90):
        tracemalloc.start()
        coco.save(many(number), tmp_path, Report())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (tmp_path / coco.ANNOTATIONS).stat().st_size > 300_000
    assert peaks[1] < peaks[0] + 50_000


sides = st.one_of(
    st.integers(-10, 5000).map(float), st.integers(0, 500000).map(lambda v: v / 100), st.floats(-100, 5000, width=32)
)
values = {name: st.integers(0, 1) for name in FLAGS}
values |= {name: st.integers(-1, 1) for name in ("occluded", "truncated", "depiction", "inside")}
values |= {name: st.integers(0, 2) for name in ("blur", "occlusion")}
boxes = st.lists(
    st.tuples(sides, sides, sides, sides, st.text(min_size=1, max_size=4), st.fixed_dictionaries(values)).filter(
        lambda b: abs(b[0] - b[2]) > 1e-3 and abs(b[1] - b[3]) > 1e-3
    ),
    max_size=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(boxes=boxes)
def test_round_trip(tmp_path, images, boxes):
    xyxy = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d, *_ in boxes]
    flags = {name: [b[5][name] for b in boxes] for name in FLAGS}
    image = AnnotatedImage("a.jpg", 48, 32, xyxy, tuple(b[4] for b in boxes), images / "a.jpg", flags)
    coco.save([image], tmp_path / "out", Report())
    lines = []
    (again,) = coco.load(tmp_path / "out" / coco.ANNOTATIONS, images, None, Report(show=lines.append))
    assert lines == [] and again.classes == image.classes
    np.testing.assert_allclose(again.xyxy, image.xyxy, rtol=0, atol=1e-12)
    for name in FLAGS:
        assert again.flags.get(name, np.full(len(boxes), -1)).tolist() == image.flags[name].tolist()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(hundredths=st.lists(st.tuples(*[st.integers(0, 400000)] * 4), min_size=1, max_size=20))
def test_round_trip_of_two_decimals_is_exact(tmp_path, images, hundredths):
    xyxy = [[x / 100, y / 100, (x + w + 1) / 100, (y + h + 1) / 100] for x, y, w, h in hundredths]
    image = AnnotatedImage("a.jpg", 48, 32, xyxy, ("face",) * len(xyxy), images / "a.jpg")
    coco.save([image], tmp_path / "out", Report())
    (again,) = coco.load(tmp_path / "out" / coco.ANNOTATIONS, images, None, Report())
    assert again.xyxy.tolist() == xyxy


def test_round_trip_of_record_coordinates(tmp_path, images):
    """Fractions in float32, as records hold them, times a width."""
    xyxy = [[261.88745498657227, 122.63440132141113, 529.7296524047852, 513.513069152832]]
    image = AnnotatedImage("a.jpg", 48, 32, xyxy, ("face",), images / "a.jpg")
    coco.save([image], tmp_path / "out", Report())
    (again,) = coco.load(tmp_path / "out" / coco.ANNOTATIONS, images, None, Report())
    assert again.xyxy.tolist() == xyxy


def test_flags_beyond_their_values_are_not_written(tmp_path, images):
    """Records made by others hold any number."""
    flags = {"ignore": [7], "difficult": [-1], "blur": [3], "truncated": [5], "occluded": [2], "group_of": [9]}
    image = AnnotatedImage("a.jpg", 48, 32, [[0, 0, 9, 9]], ("face",), images / "a.jpg", flags)
    for module in (coco, pascal_voc):
        module.save([image], tmp_path / "out", Report())
        lines = []
        (again,) = module.load(tmp_path / "out" / module.ANNOTATIONS, images, None, Report(show=lines.append))
        assert lines == [] and again.ignore.tolist() == [True]


def test_masks_are_not_held_in_memory(images, tmp_path):
    masks = [box(id=i, segmentation=[[i + x / 7 for x in range(500)]]) for i in range(200)]
    content = {"images": IMAGES, "annotations": masks, "categories": CATEGORIES}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    del content, masks
    tracemalloc.start()
    stream = coco.load(tmp_path / "coco.json", images, None, Report())
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert sum(map(len, stream)) == 200
    assert held < 500_000 < (tmp_path / "coco.json").stat().st_size


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | st.sampled_from(["", "a.jpg", "face", "\ud800"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["id", "bbox", "name", "x"]), inner),
    max_leaves=6,
)


def entries(keys):
    """Entries of a list: good values and any others."""
    good = {"id": st.integers(1, 3), "image_id": st.integers(1, 3), "category_id": st.integers(1, 3)}
    good |= {
        "file_name": st.sampled_from(["a.jpg", "sub/b.png"]),
        "name": st.just("face"),
        "bbox": st.just([1, 2, 3, 4]),
    }
    optional = {key: good.get(key, json_values) | json_values for key in keys}
    return st.lists(st.fixed_dictionaries({}, optional=optional) | json_values, max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(
    images_list=entries(["id", "file_name", "width", "height"]),
    annotations=entries(["id", "image_id", "category_id", "bbox", "iscrowd", "ignore", "attributes"]),
    categories=entries(["id", "name"]),
)
def test_any_json_is_read_or_refused(load, images_list, annotations, categories):
    try:
        loaded, report, lines = load({"images": images_list, "annotations": annotations, "categories": categories})
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert len(loaded) <= len(images_list)
        assert sum(map(len, loaded)) + report.problems + report.dropped.total() >= len(annotations)
        assert len(lines) == report.problems and not any("\n" in line for line in lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.binary(max_size=60) | st.text(st.sampled_from('{}[]":, imageso1'), max_size=60))
def test_any_bytes_are_read_or_refused(load, text):
    try:
        load(text)
    except UserError as error:
        assert "\n" not in str(error)


@pytest.fixture
def saved(images, tmp_path):
    """A saved set, one box to be ignored and one group: the path."""
    flags = {"ignore": [0, 1, 0], "group_of": [0, 0, 1]}
    xyxy = [[0.5, 1, 20.25, 30], [30, 3, 40, 13], [25, 20, 45, 31]]
    first = AnnotatedImage("a.jpg", 48, 32, xyxy, ("face",) * 3, images / "a.jpg", flags)
    second = AnnotatedImage("sub/b.png", 100, 50, [[1, 1, 9, 9]], ("hat",), images / "sub" / "b.png")
    coco.save([first, second], tmp_path / "out", Report())
    return tmp_path / "out" / coco.ANNOTATIONS


def test_pycocotools_reads_and_evaluates_what_is_saved(saved, capsys):
    truth = COCO(str(saved))
    assert [image["file_name"] for image in truth.loadImgs([1, 2])] == ["a.jpg", "sub/b.png"]
    assert [truth.loadCats(1)[0]["name"], truth.loadCats(2)[0]["name"]] == ["face", "hat"]
    assert truth.loadAnns(1)[0]["bbox"] == [0.5, 1, 19.75, 29]
    assert truth.getAnnIds(areaRng=[0, 65]) == [4]
    assert truth.getAnnIds(iscrowd=True) == [2, 3]
    # Boxes right on the ignored one and in the group are no mistakes, and neither has to be found.
    detections = [
        {"image_id": 1, "category_id": 1, "bbox": [0.5, 1, 19.75, 29], "score": 0.5},
        {"image_id": 1, "category_id": 1, "bbox": [30, 3, 10, 10], "score": 0.9},
        {"image_id": 1, "category_id": 1, "bbox": [26, 21, 5, 5], "score": 0.8},
        {"image_id": 1, "category_id": 1, "bbox": [36, 21, 5, 5], "score": 0.7},
    ]
    evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
    evaluation.params.catIds = [1]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()
    assert evaluation.stats[0] == pytest.approx(1) and evaluation.stats[8] == pytest.approx(1)


def test_globox_reads_what_is_saved(saved):
    read = {annotation.image_id: annotation for annotation in globox.AnnotationSet.from_coco(saved)}
    assert {name: annotation.image_size for name, annotation in read.items()} == {
        "a.jpg": (48, 32),
        "sub/b.png": (100, 50),
    }
    assert [box.ltrb for box in read["a.jpg"].boxes] == [(0.5, 1, 20.25, 30), (30, 3, 40, 13), (25, 20, 45, 31)]
    assert [box.label for box in read["sub/b.png"].boxes] == ["hat"]


def test_what_globox_saves_is_read(saved, images, tmp_path):
    globox.AnnotationSet.from_coco(saved).save_coco(tmp_path / "globox.json", auto_ids=True)
    lines = []
    loaded = list(coco.load(tmp_path / "globox.json", images, None, Report(show=lines.append)))
    assert lines == [] and [image.name for image in loaded] == ["a.jpg", "sub/b.png"]
    assert loaded[0].xyxy.tolist() == [[0.5, 1, 20.25, 30], [30, 3, 40, 13], [25, 20, 45, 31]]


def test_real_set(tmp_path):
    """853 photographs by way of COCO, read again by us and by pycocotools."""
    if not (SHARED / "mask853").is_dir():
        pytest.skip("mask853 is not beside this checkout")
    images = SHARED / "mask853" / "images"
    before = list(pascal_voc.load(SHARED / "mask853" / "annotations", images, None, Report()))
    coco.save(before, tmp_path, Report())
    after = list(coco.load(tmp_path / coco.ANNOTATIONS, images, None, Report()))
    same(before, after)
    read = COCO(str(tmp_path / coco.ANNOTATIONS))
    names = {category["id"]: category["name"] for category in read.loadCats(read.getCatIds())}
    assert (len(read.imgs), len(read.anns), len(names)) == (853, 4072, 3)
    ids = {entry["file_name"]: number for number, entry in read.imgs.items()}
    for image in before:
        rows = read.loadAnns(read.getAnnIds(ids[image.name]))
        assert [names[row["category_id"]] for row in rows] == list(image.classes)
        x, y, width, height = np.array([row["bbox"] for row in rows]).T
        assert np.stack([x, y, x + width, y + height], axis=1).tolist() == image.xyxy.tolist()


FORMATS = {"coco": coco, "od_api_csv": od_api_csv, "pascal_voc": pascal_voc}


def same(before, after):
    assert [(i.name, i.width, i.height, i.classes, i.xyxy.tolist()) for i in before] == [
        (i.name, i.width, i.height, i.classes, i.xyxy.tolist()) for i in after
    ]


@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("second", FORMATS)
def test_any_to_any(images, tmp_path, first, second):
    """Through two of the formats and back, names and boxes stay; and flags where both have them."""
    flags = {"ignore": [1, 0], "difficult": [1, 0], "truncated": [0, 1], "occluded": [1, -1]}
    xyxy = [[0, 0.25, 47.99, 32], [-1, 5, 60, 20.5]]
    sets = [
        AnnotatedImage("a.jpg", 48, 32, xyxy, ("face", "hat"), images / "a.jpg", flags),
        AnnotatedImage("sub/b.png", 100, 50, [[1, 1, 2.125, 3]], ("face",), images / "sub/b.png", {"ignore": [0]}),
    ]
    images_now = sets
    for step, name in enumerate((first, second)):
        module, output = FORMATS[name], tmp_path / str(step)
        report = Report()
        module.save(images_now, output, report)
        images_now = list(module.load(output / module.ANNOTATIONS, images, None, report))
        assert report.problems == 0
    same(sets, images_now)
    if "od_api_csv" not in (first, second):
        kept = {flag: images_now[0].flags[flag].tolist() for flag in flags}
        assert kept == flags
