"""The cut of a graph: what goes around it, what cannot be cut, and that the two parts give what the whole gives."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from detect_faces.errors import UserError
from export import graph_cut
from export.graph_session import GraphSession

tf1 = tf.compat.v1


def graph_of(build) -> tf1.GraphDef:
    """The GraphDef of what `build` makes, with TF1's control flow."""
    with tf.Graph().as_default() as graph:
        tf1.disable_control_flow_v2()
        try:
            build()
        finally:
            tf1.enable_control_flow_v2()
    return graph.as_graph_def()


def cut(graph_def, *at: str, outputs=None) -> graph_cut.Cut:
    at = [graph_cut.tensor_name(graph_def, name) for name in at]
    return graph_cut.cut(graph_def, at, outputs or graph_cut.usual_outputs(graph_def))


def run(graph_def, outputs, feeds) -> list[np.ndarray]:
    return GraphSession(graph_def, as_written=True).run(outputs, feeds)


def both(graph_def, parts: graph_cut.Cut, feeds) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What the whole graph gives, and what the parts give one after the other."""
    handed = run(parts.before, [handover.output for handover in parts.handovers], feeds)
    fed = {handover.placeholder: value for handover, value in zip(parts.handovers, handed, strict=True)}
    return run(graph_def, parts.outputs, feeds), run(parts.after, parts.outputs, fed)


def assert_same(graph_def, parts: graph_cut.Cut, feeds) -> None:
    for one, other in zip(*both(graph_def, parts, feeds), strict=True):
        assert one.dtype == other.dtype and one.tobytes() == other.tobytes()


def around(parts: graph_cut.Cut) -> list[str]:
    return [handover.tensor for handover in parts.handovers if not handover.named]


def names(part) -> set[str]:
    return {node.name for node in part.node}


def placeholders(part) -> set[str]:
    return {node.name for node in part.node if node.op == "Placeholder"}


def detector() -> None:
    """A graph of the OD API's kind: a loop that resizes, features, a head that also reads the image's size."""
    image = tf1.placeholder(tf.uint8, [1, None, None, 3], name="image_tensor")
    with tf1.name_scope("Preprocessor"):

        def one(pixels):
            return tf1.image.resize_bilinear(pixels[None], [8, 8], name="resized")[0], tf.shape(pixels)

        pixels, sizes = tf1.map_fn(one, tf.cast(image, tf.float32), dtype=(tf.float32, tf.int32))
    weights = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 3, 4)), tf.float32, name="weights")
    features = tf.nn.relu(tf.nn.conv2d(pixels / 255.0, weights, 1, "SAME"), name="features")
    with tf.control_dependencies([tf1.Assert(tf.reduce_all(sizes[:, 0] > 1), ["too small"], name="check")]):
        rows = tf.reshape(features, [1, -1, 4], name="rows")
    tf.multiply(rows, tf.cast(sizes[:, None, :1], tf.float32), name="detection_boxes")
    tf.reduce_max(rows, -1, name="detection_scores")


@pytest.fixture(scope="module")
def detector_def():
    return graph_of(detector)


@pytest.fixture
def image() -> dict[str, np.ndarray]:
    return {"image_tensor:0": np.random.default_rng(1).integers(0, 256, (1, 13, 21, 3), np.uint8)}


def test_what_goes_around_the_cut_is_handed_over(detector_def, image):
    parts = cut(detector_def, "features")
    assert parts.outputs == ["detection_boxes:0", "detection_scores:0"]
    assert [handover.named for handover in parts.handovers] == [True, False]
    size = parts.handovers[1]
    assert size.readers == ("detection_boxes",) and size.dtype == "float32"
    assert placeholders(parts.after) == {"features", size.placeholder.removesuffix(":0")}
    assert placeholders(parts.before) == {"image_tensor"}
    assert_same(detector_def, parts, image)


def test_placeholders_have_type_and_shape(detector_def):
    parts = cut(detector_def, "features")
    (node,) = [node for node in parts.after.node if node.name == "features"]
    assert node.attr["dtype"].type == tf.float32.as_datatype_enum
    assert parts.handovers[0].shape == (None, None, None, 4)
    assert tf.TensorShape(node.attr["shape"].shape).as_list() == [None, None, None, 4]


def test_checks_before_the_cut_still_run(detector_def, image):
    parts = cut(detector_def, "features")
    assert parts.handovers[0].output != parts.handovers[0].tensor
    thin = {"image_tensor:0": image["image_tensor:0"][:, :1]}
    with pytest.raises(UserError, match="too small"):
        run(detector_def, parts.outputs, thin)
    with pytest.raises(UserError, match="too small"):
        run(parts.before, [parts.handovers[0].output], thin)


@pytest.mark.parametrize("at", ["Preprocessor/map/TensorArrayStack/TensorArrayV3", "truediv", "rows", "Cast"])
def test_cut_at_either_side_of_the_loop(detector_def, image, at):
    at = at.replace("TensorArrayV3", "TensorArrayGatherV3")
    found = [node.name for node in detector_def.node if node.name == at or node.name.endswith("/" + at)]
    assert_same(detector_def, cut(detector_def, found[0]), image)


def test_loop_counters_can_be_cut_at(detector_def, image):
    exits = [node.name for node in detector_def.node if node.op == "Exit"]
    assert exits
    refused = 0
    for name in exits:
        try:
            parts = cut(detector_def, name)
        except UserError as error:
            assert "flow of the TensorArray" in str(error) or "none of the outputs" in str(error)
            refused += "flow of the TensorArray" in str(error)
        else:
            assert_same(detector_def, parts, image)
    assert refused


def test_inside_a_loop_is_refused_with_the_nearest_outside(detector_def, image):
    (inside,) = [node.name for node in detector_def.node if node.op == "ResizeBilinear"]
    with pytest.raises(UserError, match="is inside the loop Preprocessor/map/while/") as error:
        cut(detector_def, inside)
    nearest = str(error.value).partition("nearest that can be cut at: ")[2].split(", ")
    assert len(nearest) > 1
    for name in nearest:
        assert_same(detector_def, cut(detector_def, name), image)


def test_handles_and_flows_are_refused(detector_def):
    array = next(node.name for node in detector_def.node if node.op == "TensorArrayV3")
    with pytest.raises(UserError, match=r"is a handle \(resource\)"):
        cut(detector_def, array)
    with pytest.raises(UserError, match="is the flow of the TensorArray operation"):
        cut(detector_def, f"{array}:1")


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("image_tensor", "is the graph's input"),
        ("weights", "does not depend on the graph's input"),
        ("detection_boxes", "nothing comes behind it"),
        ("features:1", "has 1 outputs, counted from 0"),
        ("features:x", "such as features:0"),
        ("featured", "no such tensor in the graph; near: features"),
        ("resized", "no such tensor in the graph; near: Preprocessor/map/while/resized"),
        ("zzzz", "zzzz: no such tensor in the graph$"),
    ],
)
def test_useless_cuts_are_refused(detector_def, at, message):
    with pytest.raises(UserError, match=message):
        outputs = ["detection_boxes:0"] if at == "detection_boxes" else None
        cut(detector_def, at, outputs=outputs)


def test_not_on_the_way_to_the_outputs(detector_def):
    with pytest.raises(UserError, match="none of the outputs"):
        cut(detector_def, "detection_boxes", outputs=["detection_scores:0"])


def test_cut_at_one_of_the_outputs():
    def build():
        x = tf1.placeholder(tf.float32, [None], name="x")
        tf.negative(tf.square(x, name="first"), name="second")

    graph_def = graph_of(build)
    parts = cut(graph_def, "first", outputs=["first:0", "second:0"])
    assert_same(graph_def, parts, {"x:0": np.float32([1, -3])})


def test_an_output_that_does_not_depend_on_the_cut():
    def build():
        x = tf1.placeholder(tf.float32, [None], name="x")
        tf.negative(tf.square(x, name="middle"), name="end")
        tf.size(x, name="count")
        tf.constant(7, name="seven")

    graph_def = graph_of(build)
    parts = cut(graph_def, "middle", outputs=["end:0", "count:0", "seven:0"])
    assert around(parts) == ["count:0"]
    assert_same(graph_def, parts, {"x:0": np.float32([1, -3])})


def test_named_tensors_one_behind_the_other():
    """As the feature maps of an SSD are."""

    def build():
        x = tf1.placeholder(tf.float32, [None], name="x")
        first = tf.nn.relu(x * 2, name="first")
        second = tf.nn.relu(tf.tanh(first, name="between") - 1, name="second")
        tf.concat([first * 3, second * 5], 0, name="end")

    graph_def = graph_of(build)
    parts = cut(graph_def, "second", "first")
    assert [handover.tensor for handover in parts.handovers] == ["second:0", "first:0"]
    assert "between" in names(parts.before) and "between" not in names(parts.after)
    assert_same(graph_def, parts, {"x:0": np.float32([1, -3, 0.2])})


def test_skip_connections_go_around():
    def build():
        x = tf1.placeholder(tf.float32, [None], name="x")
        start = tf.tanh(x, name="start")
        branch = tf.sin(start, name="branch")
        tf.add(tf.cos(branch), start, name="sum")

    graph_def = graph_of(build)
    parts = cut(graph_def, "branch")
    assert around(parts) == ["start:0"]
    assert_same(graph_def, parts, {"x:0": np.float32([1, -3, 0.2])})


def test_second_outputs_get_names_of_their_own():
    def build():
        x = tf1.placeholder(tf.float32, [4], name="x")
        one, two = tf.split(x, 2, name="halves")
        taken = tf.constant(3.0, name="halves_1")
        tf.concat([tf.sin(two) * taken, one], 0, name="end")

    graph_def = graph_of(build)
    parts = cut(graph_def, "halves:1")
    assert [(h.tensor, h.placeholder) for h in parts.handovers] == [
        ("halves:1", "halves_1_:0"),
        ("halves:0", "halves:0"),
    ]
    assert_same(graph_def, parts, {"x:0": np.float32([1, 2, 3, 4])})


def test_constants_are_copied_into_both():
    def build():
        x = tf1.placeholder(tf.float32, [2], name="x")
        shared = tf.exp(tf.constant([1.0, 2.0], name="shared"), name="shared/exp")
        tf.add(tf.multiply(x, shared, name="middle"), shared, name="end")

    graph_def = graph_of(build)
    parts = cut(graph_def, "middle")
    assert around(parts) == []
    assert {"shared", "shared/exp"} <= names(parts.before) & names(parts.after)
    assert_same(graph_def, parts, {"x:0": np.float32([1, 2])})


def test_waiting_for_constants_does_not_bring_them_along():
    """TF2 functions wait at their end for all their reads of variables."""

    def build():
        x = tf1.placeholder(tf.float32, [2], name="x")
        large = tf.constant([1.0, 2.0], name="large")
        middle = tf.multiply(x, large, name="middle")
        with tf.control_dependencies([large]):
            waited = tf.no_op(name="reads")
        with tf.control_dependencies([waited]):
            tf.identity(middle + 1, name="end")

    graph_def = graph_of(build)
    parts = cut(graph_def, "middle")
    assert "large" in names(parts.before) and not {"large", "reads"} & names(parts.after)
    assert_same(graph_def, parts, {"x:0": np.float32([1, 2])})


def test_constants_that_wait_stay_constants():
    """Under tf.control_dependencies, what looks like a shape or a weight waits for the check."""

    def build():
        x = tf1.placeholder(tf.float32, [4], name="x")
        middle = tf.tanh(x, name="middle")
        weight = tf1.get_variable("weight", [2, 2], use_resource=True)
        with tf.control_dependencies([tf1.Assert(tf.reduce_all(x > 0), [x])]):
            tf.linalg.matmul(tf.reshape(middle, [2, 2]), weight, name="end")

    parts = cut(graph_of(build), "middle", outputs=["end:0"])
    assert around(parts) == []
    assert "weight" in names(parts.after) and "weight" not in names(parts.before)
    assert "Assert" in {node.op for node in parts.before.node}


def test_inside_a_conditional_is_refused():
    def build():
        x = tf1.placeholder(tf.float32, [2], name="x")
        y = tf1.cond(tf.reduce_sum(x) > 0, lambda: tf.sin(x, name="sine"), lambda: tf.cos(x, name="cosine"))
        tf.add(tf.multiply(y, 2.0, name="doubled"), x, name="end")

    graph_def = graph_of(build)
    sine = next(node.name for node in graph_def.node if node.op == "Sin")
    with pytest.raises(UserError, match="inside a conditional, where it may have no value"):
        cut(graph_def, sine)
    for value in ([1, 2], [-1, -2]):
        assert_same(graph_def, cut(graph_def, "doubled"), {"x:0": np.float32(value)})


def test_a_conditional_stays_in_one_part():
    """One branch depends on the cut, the other does not; what has a value in one of them only cannot be handed over."""

    def build():
        x = tf1.placeholder(tf.float32, [2], name="x")
        middle = tf.tanh(x, name="middle")
        tf1.cond(tf.reduce_sum(x) > 0, lambda: tf.sin(middle), lambda: tf.cos(tf.square(x)), name="choice")

    graph_def = graph_of(build)
    end = next(node.name for node in graph_def.node if node.op == "Merge")
    parts = cut(graph_def, "middle", outputs=[f"{end}:0"])
    assert not {node.op for node in parts.before.node} & {"Switch", "Merge"}
    for value in ([1, 2], [-1, -2]):
        assert_same(graph_def, parts, {"x:0": np.float32(value)})


def test_a_loop_stays_in_one_part():
    """A loop variable that does not depend on the cut runs in the loop all the same."""

    def build():
        x = tf1.placeholder(tf.float32, [2], name="x")
        middle = tf.tanh(x, name="middle")
        start = tf.reduce_sum(tf.square(x), name="start")
        tf1.while_loop(
            lambda i, a, b: i < 3, lambda i, a, b: (i + 1, a * 1.5, tf.sin(b)), [0, start, middle], name="loop"
        )

    graph_def = graph_of(build)
    ends = [f"{node.name}:0" for node in graph_def.node if node.op == "Exit"]
    assert len(ends) == 3
    parts = cut(graph_def, "middle", outputs=ends)
    assert around(parts) == ["start:0"]
    assert_same(graph_def, parts, {"x:0": np.float32([1, 2])})


def test_random_numbers_are_drawn_once():
    def build():
        x = tf1.placeholder(tf.float32, [3], name="x")
        noise = tf1.random_uniform([3], name="noise")
        tf.subtract(tf.add(x, noise, name="noisy"), noise, name="end")

    graph_def = graph_of(build)
    parts = cut(graph_def, "noisy")
    assert len(around(parts)) == 1
    _, (end,) = both(graph_def, parts, {"x:0": np.float32([1, 2, 3])})
    assert np.allclose(end, [1, 2, 3], atol=1e-6)


def test_graphs_that_write_variables_are_refused():
    def build():
        x = tf1.placeholder(tf.float32, [], name="x")
        total = tf1.get_variable("total", [], use_resource=True)
        with tf.control_dependencies([total.assign_add(x)]):
            tf.sin(tf.cos(x, name="middle"), name="end")

    with pytest.raises(UserError, match="writes a variable"):
        cut(graph_of(build), "middle", outputs=["end:0"])


def test_text_is_not_handed_over():
    def build():
        x = tf1.placeholder(tf.float32, [], name="x")
        tf.strings.length(tf.strings.as_string(x, name="text"), name="end")

    with pytest.raises(UserError, match="is text"):
        cut(graph_of(build), "text")


def test_outputs_by_default():
    def build():
        x = tf1.placeholder(tf.float32, [2], name="x")
        with tf.control_dependencies([tf.tanh(x, name="only_waited_for")]):
            tf.sin(x, name="end")
        tf.add(tf.constant(1.0), 2.0, name="of_constants")
        tf1.placeholder(tf.float32, name="unused")

    assert graph_cut.usual_outputs(graph_of(build)) == ["end:0"]


@st.composite
def random_graphs(draw):
    """Operations that read earlier ones, the input or a constant; and which to cut at."""
    nodes = []
    for number in range(draw(st.integers(2, 14))):
        earlier = st.integers(-2, number - 1)  # -2 the input, -1 a constant
        kind = draw(st.sampled_from(["add", "mul", "sin", "sum", "split", "loop", "cond"]))
        wait = draw(st.none() | st.integers(0, number - 1)) if number else None
        nodes.append((kind, draw(earlier), draw(earlier), wait))
    at = draw(st.lists(st.integers(0, len(nodes) - 1), min_size=1, max_size=3, unique=True))
    return nodes, at


def random_graph(nodes) -> None:
    made = [tf1.placeholder(tf.float32, [2], name="x"), tf.constant([0.5, -1.25], name="constant")]
    for number, (kind, first, second, wait) in enumerate(nodes):
        one, two = made[first + 2], made[second + 2]
        with tf.control_dependencies([] if wait is None else [made[wait + 2]]):
            if kind == "add":
                value = one + two
            elif kind == "mul":
                value = tf.tanh(one * two)
            elif kind == "sin":
                value = tf.sin(one)
            elif kind == "sum":
                value = tf.reduce_sum(one) - two
            elif kind == "split":
                value = tf.reverse(tf.concat(tf.split(one, 2), 0), [0])
            elif kind == "loop":
                value = tf1.while_loop(lambda i, a: i < 2, lambda i, a: (i + 1, tf.sin(a) + i), [0.0, one])[1] + two
            else:
                value = tf1.cond(
                    tf.reduce_sum(one) > 0,
                    lambda one=one, two=two: tf.sin(two) * one,
                    lambda one=one, two=two: two - tf.cos(one),
                )
            made.append(tf.identity(value, name=f"node{number}"))


@settings(max_examples=25, deadline=None)
@given(random_graphs(), st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=2))
def test_random_graphs_in_two_parts(graph, values):
    nodes, at = graph
    graph_def = graph_of(lambda: random_graph(nodes))
    outputs = graph_cut.usual_outputs(graph_def)
    try:
        parts = cut(graph_def, *(f"node{number}" for number in at), outputs=outputs or ["node0:0"])
    except UserError as error:
        reasons = ("does not depend on the graph's input", "nothing comes behind", "none of the outputs")
        assert any(reason in str(error) for reason in reasons)
        return
    assert placeholders(parts.after) == {handover.placeholder.removesuffix(":0") for handover in parts.handovers}
    assert {f"node{number}" for number in at} <= placeholders(parts.after)
    assert_same(graph_def, parts, {"x:0": np.float32(values)})
