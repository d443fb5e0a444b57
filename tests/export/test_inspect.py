"""export.inspect: what it says of models whose figures are known, and its snippets, run as they are."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import training  # noqa: F401  sets Keras 2 before any test imports TensorFlow
from detect_faces import UserError
from export.inspect.__main__ import describe, main
from export.inspect.description import Tensor, by_scope
from export.inspect.leftovers import leftover_kind
from export.model_file import Kind

tf = pytest.importorskip("tensorflow")
v1 = tf.compat.v1
ROOT = Path(__file__).parents[2]
PHOTOGRAPH = ROOT / "data/sample/images/faceapi-sample5.jpg"

# The network of all these models, at 64 x 48: a convolution 3 x 3 with stride 2 to 8 channels and a depthwise one, with
# batch norm behind each, then the mean of each channel and a matrix product to 5 numbers.
SIZE = (64, 48)
PARAMETERS = 3 * 3 * 3 * 8 + 4 * 8 + 3 * 3 * 8 + 4 * 8 + 8 * 5 + 5
FOLDED = 3 * 3 * 3 * 8 + 8 + 3 * 3 * 8 + 8 + 8 * 5 + 5
FLOPS = 2 * (32 * 24 * 8 * (3 * 3 * 3) + 32 * 24 * 8 * (3 * 3) + 8 * 5)


def network(images, variable):
    """The network; variable(name, shape) gives its parameters."""
    x = images
    for name, shape, convolve in (
        ("conv", (3, 3, 3, 8), lambda x, w: tf.nn.conv2d(x, w, 2, "SAME")),
        ("depthwise", (3, 3, 8, 1), lambda x, w: tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "SAME")),
    ):
        x = convolve(x, variable(f"{name}/weights", shape))
        norm = [variable(f"{name}/BatchNorm/{part}", (8,)) for part in ("gamma", "beta", "mean", "variance")]
        x = tf.nn.relu6(v1.nn.fused_batch_norm(x, *norm, is_training=False)[0])
    return tf.nn.bias_add(
        tf.matmul(tf.reduce_mean(x, (1, 2)), variable("dense/weights", (8, 5))), variable("dense/biases", (5,))
    )


def values(shape, name="") -> np.ndarray:
    """Parameters that differ from layer to layer: converters store equal ones once."""
    return np.linspace(0.1, 0.9 + len(name) / 100, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def frozen(path: Path, height, width, prepare=lambda images: tf.cast(images, tf.float32)) -> Path:
    with tf.Graph().as_default() as graph:
        images = v1.placeholder(tf.uint8, [1, height, width, 3], name="image_tensor")
        tf.identity(
            network(prepare(images), lambda name, shape: tf.constant(values(shape, name), name=name)), name="scores"
        )
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def resized_in_a_loop(images):
    """As the OD API does: behind this, the shapes are not known before it runs."""
    sized = tf.map_fn(lambda image: v1.image.resize_bilinear(image[None], SIZE)[0], tf.cast(images, tf.float32))
    return v1.placeholder_with_default(sized, [None, None, None, 3])


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[Kind, Path]:
    """The network in each format."""
    folder = tmp_path_factory.mktemp("models")

    class Network(tf.Module):
        def __init__(self):
            self.parameters = {}
            network(tf.zeros((1, *SIZE, 3)), self.variable)

        def variable(self, name, shape):
            if name not in self.parameters:
                self.parameters[name] = tf.Variable(values(shape, name), name=name)
            return self.parameters[name]

        @tf.function(input_signature=[tf.TensorSpec((1, *SIZE, 3), tf.float32, name="image")])
        def run(self, image):
            return {"scores": network(image, self.variable)}

    module = Network()
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=module.run)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
    (folder / "float32.tflite").write_bytes(converter.convert())
    converter.optimizations, converter.target_spec.supported_types = [tf.lite.Optimize.DEFAULT], [tf.float16]
    (folder / "float16.tflite").write_bytes(converter.convert())
    with tf.Graph().as_default(), v1.Session() as session:
        made = {}

        def variable(name, shape):
            return made.setdefault(name, v1.get_variable(name, initializer=values(shape, name), use_resource=False))

        loss = tf.reduce_sum(network(tf.ones((1, *SIZE, 3)), variable))
        step = v1.train.get_or_create_global_step()
        v1.train.AdamOptimizer().minimize(loss, global_step=step)
        averages = tf.train.ExponentialMovingAverage(0.9)
        averages.apply([made["conv/weights"]])
        session.run(v1.variables_initializer(list(made.values())))  # the averages begin with them
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "tf1/model.ckpt"))
    tf.train.Checkpoint(model=module).save(str(folder / "tf2/ckpt"))
    return {
        Kind.FROZEN_GRAPH: frozen(folder / "frozen.pb", *SIZE),
        Kind.SAVED_MODEL: folder / "saved_model",
        Kind.TFLITE: folder / "float32.tflite",
        Kind.CHECKPOINT: folder / "tf1/model.ckpt",
        Kind.ONNX: onnx_network(folder / "network.onnx"),
    }


def onnx_network(path: Path, sizes=SIZE) -> Path:
    parameters = {
        "w": (8, 3, 3, 3), "gamma": (8,), "beta": (8,), "mean": (8,), "variance": (8,), "d": (8, 1, 3, 3),
        "gamma2": (8,), "beta2": (8,), "mean2": (8,), "variance2": (8,), "dense": (8, 5), "bias": (5,),
    }  # fmt: skip
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Conv", ["image", "w"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("BatchNormalization", ["a", "gamma", "beta", "mean", "variance"], ["b"]),
            node("Conv", ["b", "d"], ["c"], group=8, pads=[1, 1, 1, 1]),
            node("BatchNormalization", ["c", "gamma2", "beta2", "mean2", "variance2"], ["e"]),
            node("GlobalAveragePool", ["e"], ["f"]),
            node("Flatten", ["f"], ["g"]),
            node("Gemm", ["g", "dense", "bias"], ["scores"]),
        ],
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *sizes])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(values(shape), name) for name, shape in parameters.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("kind", [Kind.FROZEN_GRAPH, Kind.SAVED_MODEL, Kind.TFLITE, Kind.ONNX])
def test_parameters_and_flops_of_a_network_counted_by_hand(models, kind):
    described = describe(models[kind])
    assert described.kind == kind
    # TFLite has folded batch norm into the weights and biases.
    assert described.parameters == (FOLDED if kind is Kind.TFLITE else PARAMETERS)
    assert (described.flops.count, described.flops.layers, described.flops.unknown) == (FLOPS, 3, [])
    assert described.weights == {"float32": described.parameters}
    assert (described.suppression, described.leftovers, described.quantised) == ([], {}, "no")
    assert described.batch_norm.startswith("no operation" if kind is Kind.TFLITE else "2 layers, not folded")
    (image,), (scores,) = described.inputs, described.outputs
    assert sorted(image.shape) == sorted((1, 3, *SIZE)) and scores.shape == (1, 5)
    assert sum(described.operations.values()) >= 4


def test_flops_as_tensorflows_profiler_counts_them(models):
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(tf.compat.v1.GraphDef.FromString(models[Kind.FROZEN_GRAPH].read_bytes()), name="")
        options = v1.profiler.ProfileOptionBuilder(v1.profiler.ProfileOptionBuilder.float_operation())
        profile = v1.profiler.profile(graph, options=options.with_empty_output().build(), cmd="op")
    layers = sum(_own(profile, op) for op in ("Conv2D", "DepthwiseConv2dNative", "MatMul"))
    assert layers == describe(models[Kind.FROZEN_GRAPH]).flops.count


def _own(profile, op: str) -> int:
    """What the profiler counts for an operation, without those below it in its list."""
    at = profile
    while at.children:
        (child,) = at.children
        if child.name == op:
            return child.total_float_ops - sum(inner.total_float_ops for inner in child.children)
        at = child
    raise KeyError(op)


def test_shapes_that_only_a_run_shows(tmp_path):
    path = frozen(tmp_path / "model.pb", None, None, resized_in_a_loop)
    described = describe(path)
    assert (described.flops.count, described.flops.unknown) == (FLOPS, [])
    assert "run on a grey image" in described.flops.how and "300, 300" in described.flops.input
    assert described.inputs == [Tensor("image_tensor:0", "uint8", (1, None, None, 3))]


def test_the_input_size_is_given_where_the_model_leaves_it_open(tmp_path):
    path = frozen(tmp_path / "model.pb", None, None)
    assert describe(path, size=SIZE).flops.count == FLOPS
    assert "(1, 64, 48, 3)" in describe(path, size=SIZE).flops.input
    path = onnx_network(tmp_path / "model.onnx", ("height", "width"))
    assert describe(path, size=SIZE).flops.count == FLOPS
    without = describe(path).flops
    assert without.layers == 1 and len(without.unknown) == 2  # the matrix product does not depend on it


def test_float16_weights(models):
    described = describe(models[Kind.TFLITE].with_name("float16.tflite"))
    assert described.quantised == "no, float16 weights"
    assert (described.parameters, described.flops.count) == (FOLDED, FLOPS)


@pytest.mark.parametrize("name", ["fast", "accurate"])
def test_of_several_input_sizes_the_first_is_counted(name):
    """Of 2,489,752 variables those of batch norm are folded into the others: in a head that levels share, by level."""
    described = describe(Path("detect_faces/models") / name / "model.tflite")
    (image,) = described.inputs
    assert 2_400_000 < described.parameters < 2_600_000
    assert described.flops.layers == 124 and str(image.shape) in described.flops.input
    assert any("other signatures, not counted: detect_" in note for note in described.notes)


def test_a_tf1_checkpoint_after_training(models):
    described = describe(models[Kind.CHECKPOINT])
    assert described.parameters == PARAMETERS
    assert described.leftovers == {
        "moving averages of weights": 1,
        "optimizer slots": 2 * 8,  # none for the means and variances
        "step and other counters": 3,  # global_step, beta1_power, beta2_power
    }
    assert {"conv/weights", "conv/weights/Adam"} <= {tensor.name for tensor in described.variables}


def test_an_object_based_checkpoint(models):
    folder = models[Kind.CHECKPOINT].parents[1] / "tf2"
    described = describe(folder)
    assert described.parameters == PARAMETERS and described.leftovers == {"step and other counters": 1}
    assert described.notes == ["names: of objects (TF2)"] and len(described.variables) == 13
    assert describe(folder / "ckpt-1.index").to_json() == described.to_json()


def test_the_published_size_of_ssdlite_mobilenet_v2():
    folder = ROOT.parent / "shared/checkpoints/ssdlite_mobilenet_v2_coco"
    folder = folder if folder.exists() else ROOT / "checkpoints/ssdlite_mobilenet_v2_coco"
    if not folder.exists():
        pytest.skip("the COCO checkpoint is neither beside this checkout nor in checkpoints/ (`make checkpoint`)")
    described = describe(folder)
    assert (described.parameters, len(described.variables)) == (4551295, 404)


SLOW = (Kind.FROZEN_GRAPH, Kind.SAVED_MODEL, Kind.CHECKPOINT)  # each starts TensorFlow anew


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.slow] * (kind in SLOW))
        for kind in Kind
        if kind not in ("meta_graph", "tfjs")
    ],
)
def test_the_snippet_runs(models, tmp_path, kind):
    (tmp_path / "snippet.py").write_text(describe(models[kind]).snippet)
    done = subprocess.run(
        [sys.executable, tmp_path / "snippet.py", PHOTOGRAPH], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert ("conv/weights [3, 3, 3, 8]" if kind is Kind.CHECKPOINT else "(1, 5)") in done.stdout


def test_text_and_json(models, capsys):
    assert main([str(models[Kind.ONNX]), "--json"]) == 0
    as_json = json.loads(capsys.readouterr().out)
    assert (as_json["parameters"], as_json["flops"]["count"]) == (PARAMETERS, FLOPS)
    assert main([str(models[Kind.CHECKPOINT])]) == 0
    grouped = capsys.readouterr().out
    assert main([str(models[Kind.CHECKPOINT]), "--variables"]) == 0
    every = capsys.readouterr().out
    assert "conv/weights/Adam_1  float32 (3, 3, 3, 8)" in every and f"parameters: {PARAMETERS:,}" in grouped


def test_hostile_graphs_are_refused_and_trusted_ones_described(tmp_path):
    def writes(images):
        with tf.control_dependencies([tf.raw_ops.WriteFile(filename=str(tmp_path / "written"), contents="x")]):
            return tf.cast(images, tf.float32)

    path = frozen(tmp_path / "model.pb", *SIZE, writes)
    with pytest.raises(UserError, match="refused: node WriteFile does WriteFile"):
        describe(path)
    assert describe(path, trust=True).operations["WriteFile"] == 1
    assert not (tmp_path / "written").exists()


def test_onnx_weights_outside_of_the_folder(models, tmp_path):
    model = onnx.load(models[Kind.ONNX])
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner/model.onnx"
    (tmp_path / "weights").write_bytes(bytes(10**4))
    for location in ("../weights", str(tmp_path / "weights"), "a/../../weights", ""):
        onnx.external_data_helper.set_external_data(model.graph.initializer[0], location)
        path.write_bytes(model.SerializeToString())
        with pytest.raises(UserError, match="outside of the model's folder"):
            describe(path)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "weights")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="does not lie beside it"):
        describe(path)
    (tmp_path / "inner/weights").write_bytes(bytes(10**4))
    assert describe(path).parameters == PARAMETERS


def test_what_is_not_inspected(models, tmp_path):
    with pytest.raises(UserError, match=r"without \.meta"):
        describe(Path(f"{models[Kind.CHECKPOINT]}.meta"))
    (tmp_path / "model.json").write_text('{"modelTopology": {"node": []}, "weightsManifest": []}')
    with pytest.raises(UserError, match="a TensorFlow"):
        describe(tmp_path / "model.json")


@pytest.mark.parametrize("kind", [Kind.TFLITE, Kind.ONNX, Kind.FROZEN_GRAPH])
def test_damage_is_one_line(models, tmp_path, kind):
    data = bytearray(models[kind].read_bytes())
    rng = np.random.default_rng(0)
    path = tmp_path / "model"
    for _ in range(100):
        broken = data.copy()
        broken[rng.integers(8, len(data))] ^= int(rng.integers(1, 256))
        path.write_bytes(broken[: rng.integers(8, len(data))] if rng.random() < 0.3 else broken)
        try:
            describe(path).to_text()
        except UserError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Conv/weights", None),
        ("FeatureExtractor/MobilenetV2/Conv/BatchNorm/moving_mean", None),
        ("Conv/weights/ExponentialMovingAverage", "moving averages of weights"),
        ("averages/12/.ATTRIBUTES/VARIABLE_VALUE", "moving averages of weights"),
        ("Conv/weights/Momentum", "optimizer slots"),
        ("model/v/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE", "optimizer slots"),
        ("optimizer/_variables/3/.ATTRIBUTES/VARIABLE_VALUE", "optimizer slots"),
        ("optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE", "step and other counters"),
        ("global_step", "step and other counters"),
    ],
)
def test_leftovers_by_name(name, kind):
    assert leftover_kind(name) == kind


def test_scopes_are_as_fine_as_fits():
    tensors = [Tensor(f"a/{i}/{k}", "float32", (1,)) for i in range(3) for k in range(20)]
    assert {scope: len(inside) for scope, inside in by_scope(tensors).items()} == {f"a/{i}": 20 for i in range(3)}
    assert len(by_scope(tensors, 60)) == 60 and by_scope([]) == {}
