"""Examples against TensorFlow's parser and the OD API's decoder, and back again."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.annotations import FLAGS, AnnotatedImage
from tools.images import EncodedImage, encode_for_record
from tools.tf_example import Example, ExampleError, decode, encode

LABEL_MAP = {"face": 1, "mask": 2}


@pytest.fixture
def image(picture):
    flags = {"ignore": [0, 1, 0], "group_of": [0, -1, 1], "occluded": [-1, 0, 1], "blur": [2, 0, 1]}
    xyxy = [[0, 0, 12, 8], [6, 4, 48, 32], [1.5, 2.25, 3, 4]]
    return AnnotatedImage("a/b.jpg", 48, 32, xyxy, ("face", "mask", "face"), picture(), flags)


def to_bytes(image):
    return encode(image, encode_for_record(image.source), LABEL_MAP)


def test_tensorflow_parses_it(image):
    tf = pytest.importorskip("tensorflow")
    example = tf.train.Example.FromString(to_bytes(image)).features.feature
    values = {key: list(getattr(item, item.WhichOneof("kind")).value) for key, item in example.items()}
    assert values.pop("image/encoded") == [image.source]
    assert len(values.pop("image/key/sha256")[0]) == 64
    assert values == {
        "image/format": [b"jpeg"],
        "image/filename": [b"a/b.jpg"],
        "image/source_id": [b"a/b.jpg"],
        "image/width": [48],
        "image/height": [32],
        "image/object/bbox/xmin": [0, 0.125, 0.03125],
        "image/object/bbox/ymin": [0, 0.125, 0.0703125],
        "image/object/bbox/xmax": [0.25, 1, 0.0625],
        "image/object/bbox/ymax": [0.25, 1, 0.125],
        "image/object/class/text": [b"face", b"mask", b"face"],
        "image/object/class/label": [1, 2, 1],
        "image/object/area": [96, 1176, 2.625],
        "image/object/weight": [1, 0, 1],
        "image/object/is_crowd": [0, 1, 1],
        "image/object/group_of": [0, 0, 1],
        "image/object/occluded": [-1, 0, 1],
        "image/object/blur": [2, 0, 1],
    }


@pytest.mark.parametrize("boxes", [0, 3])
def test_the_od_api_decodes_it(image, boxes, tmp_path):
    tf = pytest.importorskip("tensorflow")
    od_api = pytest.importorskip("training.od_api")
    od_api.install()
    from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder

    if not boxes:
        image = AnnotatedImage("empty.jpg", 48, 32, [], (), image.source, {"ignore": []})
    (tmp_path / "map.pbtxt").write_text('item { id: 1 name: "face" } item { id: 2 name: "mask" }')
    decoder = TfExampleDecoder(label_map_proto_file=str(tmp_path / "map.pbtxt"))
    tensors = {key: value.numpy() for key, value in decoder.decode(tf.constant(to_bytes(image))).items()}
    assert tensors["image"].shape == (32, 48, 3)
    assert tensors["groundtruth_classes"].tolist() == [1, 2, 1][:boxes]
    assert tensors["groundtruth_weights"].tolist() == [1, 0, 1][:boxes]
    assert tensors["groundtruth_is_crowd"].tolist() == [False, True, True][:boxes]
    assert tensors["groundtruth_group_of"].tolist() == [False, False, True][:boxes]
    assert tensors["groundtruth_boxes"].shape == (boxes, 4)
    if boxes:
        assert tensors["groundtruth_boxes"][1].tolist() == [0.125, 0.125, 1, 1]


@st.composite
def annotated_images(draw):
    number = draw(st.integers(0, 5))
    width, height = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))
    corners = draw(st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=number, max_size=number))
    xyxy = [[min(a, c) * width, min(b, d) * height, max(a, c) * width, max(b, d) * height] for a, b, c, d in corners]
    names = draw(st.sets(st.sampled_from(FLAGS)))
    flags = {name: draw(st.lists(st.integers(0, 2), min_size=number, max_size=number)) for name in names - {"ignore"}}
    flags["ignore"] = draw(st.lists(st.integers(0, 1), min_size=number, max_size=number))
    name = draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
    classes = draw(st.lists(st.sampled_from(list(LABEL_MAP)), min_size=number, max_size=number))
    return AnnotatedImage(name, width, height, xyxy, tuple(classes), b"pixels", flags)


@given(image=annotated_images())
def test_round_trip(image):
    encoded = EncodedImage(image.source, "jpeg", image.width, image.height, (image.width, image.height))
    data = encode(image, encoded, LABEL_MAP)
    assert data == encode(image, encoded, LABEL_MAP)
    again = decode(data)
    assert (again.name, again.width, again.height, again.classes) == (
        image.name,
        image.width,
        image.height,
        image.classes,
    )
    assert again.source == image.source
    np.testing.assert_allclose(again.xyxy, image.xyxy, rtol=1e-6, atol=1e-6)
    flags = {name: values.tolist() for name, values in again.flags.items() if len(image) or name != "ignore"}
    assert flags == {name: values.tolist() for name, values in image.flags.items() if len(image) or name != "ignore"}


def make_example(**features):
    example = Example()
    for key, values in features.items():
        kind = "bytes_list" if isinstance(values[0], bytes) else "int64_list"
        kind = "float_list" if isinstance(values[0], float) else kind
        getattr(example.features.feature["image/" + key.replace("__", "/")], kind).value.extend(values)
    return example.SerializeToString()


def test_examples_of_other_writers(picture):
    sides = {"xmin": 0.0, "xmax": 0.5, "ymin": 0.0, "ymax": 1.0}
    box = {f"object__bbox__{side}": [value] for side, value in sides.items()}
    image = decode(make_example(encoded=[picture()], source_id=[b"7"], object__class__label=[1], **box))
    assert (image.name, image.width, image.height, image.classes) == ("7", 48, 32, ("1",))
    assert image.xyxy.tolist() == [[0, 0, 24, 32]]
    crowd = make_example(encoded=[picture()], filename=[b"a"], object__class__text=[b"x"], object__is_crowd=[1], **box)
    assert decode(crowd).ignore.tolist() == [True]


@pytest.mark.parametrize(
    "data, message",
    [
        (b"\xff\xff\xff", "not a tf.train.Example"),
        (b"", "no image/encoded"),
        (make_example(encoded=[b"x"]), "neither image/filename nor"),
        (make_example(encoded=[b"x"], filename=[b"\xff"]), "image/filename is not text"),
        (make_example(encoded=[b"x"], filename=[3]), "image/filename is a int64_list"),
        (make_example(encoded=[b"x"], filename=[b"a"]), "its image: not a JPEG"),
        (
            make_example(encoded=[b"x"], filename=[b"a"], width=[2], height=[2], object__class__label=[1]),
            "differ in number",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # fields of an example are in any order
)
def test_bad_examples(data, message):
    with pytest.raises(ExampleError, match=message):
        decode(data)


@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    try:
        decode(data)
    except ExampleError:
        pass


def test_tools_do_not_import_tensorflow():
    code = (
        "import sys, tools.convert, tools.formats.tfrecord, tools.formats.wider_face, tools.formats.open_images, "
        "tools.sample_set; sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
