"""Training with an exported step, from outside: without TensorFlow, killed, interrupted, on two devices, bad input."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from detect_faces.errors import UserError
from tests.training import toy_step
from tools import tf_example, tfrecord_file
from tools.annotations import AnnotatedImage
from tools.images import EncodedImage
from training import run_step, step_file, step_state
from training.progress import Progress

ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """As a kill: nothing of the run is done any more."""


def write_records(path: Path, images: int = 9, faces: int = 2, label: int = 1) -> Path:
    """Records of grey pictures of different sizes with bright faces."""
    random, data = np.random.default_rng(1), b""
    for number in range(images):
        width, height = (int(side) for side in random.integers(60, 200, 2))
        pixels = random.integers(0, 120, (height, width, 3)).astype(np.uint8)
        first = random.uniform(0, 0.6, (faces, 2)) * (width, height)
        boxes = np.concatenate([first, first + random.uniform(0.2, 0.4, (faces, 1)) * min(width, height)], 1)
        for x_min, y_min, x_max, y_max in boxes.astype(int):
            pixels[y_min:y_max, x_min:x_max] += 100
        encoded = cv2.imencode(".png", pixels)[1].tobytes()
        image = AnnotatedImage(f"{number}.png", width, height, boxes, ["face"] * faces, encoded)
        data += tfrecord_file.frame(
            tf_example.encode(image, EncodedImage(encoded, "png", width, height, (width, height)), {"face": label})
        )
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def step(tmp_path_factory) -> Path:
    return toy_step.write(tmp_path_factory.mktemp("toy") / "step.zip")


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Path:
    return write_records(tmp_path_factory.mktemp("records") / "train.tfrecord")


@pytest.fixture
def start(tmp_path, step, records):
    """A function that runs the step into a folder NAME and gives its exit code."""

    def run(name: str, *more: str, of: Path = step, on: Path = records) -> int:
        return run_step.main([str(of), "--records", str(on), "--output", str(tmp_path / name / "w.npz"), *more])

    return run


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files if name != "about"}


def assert_same(one: Path, other: Path) -> None:
    some, others = arrays(one), arrays(other)
    assert some.keys() == others.keys()
    assert [name for name in some if not np.array_equal(some[name], others[name])] == []


# ---- A run ---------------------------------------------------------------------------------------------------------


def test_what_a_run_leaves(start, tmp_path, capsys):
    assert start("whole") == 0
    out, err = capsys.readouterr()
    folder = tmp_path / "whole"
    assert out.strip() == str(folder / "w.npz")
    assert "9 images" in err and "12 steps of 4: 5.3 epochs" in err and "images/s" in err
    assert {path.name for path in folder.iterdir()} == {"w.npz", "w.state.npz", "w.metrics.jsonl"}
    lines = [json.loads(line) for line in (folder / "w.metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 12]
    total = sum(lines[0][f"loss/{name}"] for name in ("localization", "classification", "regularization"))
    assert lines[0]["loss/total"] == pytest.approx(total, rel=1e-5)
    weights = arrays(folder / "w.npz")
    assert weights["step"] == 12
    assert not any(name.startswith(("first/", "second/")) for name in weights)
    assert not np.array_equal(weights["variables/guess/kernel"], toy_step.VARIABLES["guess/kernel"])
    assert not np.array_equal(weights["variables/guess/kernel"], weights["averages/guess/kernel"])
    # and once more: nothing to do, but for weights that a kill left as they were at a stop before
    (folder / "w.npz").write_bytes(b"others")
    assert start("whole") == 0
    assert "ended at step 12; nothing to do" in capsys.readouterr().err
    again = arrays(folder / "w.npz")
    assert again.keys() == weights.keys() and all(np.array_equal(again[name], weights[name]) for name in weights)


def test_the_seed_decides_the_images_and_the_steps_the_schedule(start, tmp_path, capsys):
    assert start("some", "--steps", "20") == start("others", "--steps", "20", "--memory", "0") == 0
    assert "0 of 9 images fit into 0.0 GB of memory; the others are decoded each time" in capsys.readouterr().err
    assert_same(tmp_path / "some/w.npz", tmp_path / "others/w.npz")  # however images are kept
    last = json.loads((tmp_path / "some/w.metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 20
    cosine = 0.025 * (1 + np.cos(np.pi * (19 - 2) / (20 - 2)))  # 20 // 10 steps of warm-up
    assert last["learning_rate"] == pytest.approx(cosine, rel=1e-4)


def test_tensorflow_is_not_imported(step, records, tmp_path):
    program = """
import sys
class Refuse:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("tensorflow", "tf_keras", "keras", "object_detection", "tf2jax"):
            raise ImportError(name + " is not here")
sys.meta_path.insert(0, Refuse())
from training import run_step
sys.exit(run_step.main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", program, str(step), "--records", str(records), "--output", str(tmp_path / "w.npz")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "w.npz").is_file()


def test_two_devices_compute_what_one_does(start, step, records, tmp_path):
    assert start("one") == 0
    command = [sys.executable, "-m", "training.run_step", str(step), "--records", str(records), "--devices", "2"]
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command += ["--output", str(tmp_path / "two/w.npz")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "2 x cpu" in done.stderr
    one, two = arrays(tmp_path / "one/w.npz"), arrays(tmp_path / "two/w.npz")
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


# ---- Killed, interrupted, out of time --------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 4, 5, 11])
def test_after_a_kill_it_goes_on_to_the_same_weights(start, tmp_path, monkeypatch, capsys, at):
    assert start("whole") == 0

    def killed(self, done, *arguments, update=Progress.update):
        update(self, done, *arguments)
        if done == at:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "update", killed)
        with pytest.raises(Killed):
            start("killed")
    assert not (tmp_path / "killed/w.npz").exists()
    capsys.readouterr()
    assert start("killed") == 0
    before = (at - 1) // 4 * 4 if at % 4 == 0 else at // 4 * 4  # a state is saved behind what is said of its step
    assert ("going on from step" in capsys.readouterr().err) == (before > 0)
    assert_same(tmp_path / "killed/w.npz", tmp_path / "whole/w.npz")
    assert_same(tmp_path / "killed/w.state.npz", tmp_path / "whole/w.state.npz")
    lines = (tmp_path / "killed/w.metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 12]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_with_130(start, tmp_path, monkeypatch, capsys, number):
    assert start("whole") == 0

    def update(self, done, *arguments, update=Progress.update):
        update(self, done, *arguments)
        if done == 5:
            signal.raise_signal(number)

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "update", update)
        assert start("asked") == 130
    assert "stopped at step 6; the same command goes on from there" in capsys.readouterr().err
    assert not (tmp_path / "asked/w.npz").exists()
    assert start("asked") == 0
    assert_same(tmp_path / "asked/w.npz", tmp_path / "whole/w.npz")


def test_stop_after_a_time_leaves_weights_and_goes_on(start, tmp_path, capsys):
    assert start("whole") == 0
    assert start("timed", "--stop-after", "0") == 0
    assert "step 1 of 12: --stop-after is over" in capsys.readouterr().err
    assert arrays(tmp_path / "timed/w.npz")["step"] == 1
    assert start("timed", "--stop-after", "2h") == 0
    assert_same(tmp_path / "timed/w.npz", tmp_path / "whole/w.npz")


# ---- What is wrong is said in a line ---------------------------------------------------------------------------------


def refused(start, match: str, *arguments, **options) -> None:
    with pytest.raises(UserError, match=match) as raised:
        start("wrong", *arguments, **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_step_file_that_is_cut_off(start, step, tmp_path, share):
    path = tmp_path / "cut.zip"
    path.write_bytes(step.read_bytes()[: int(step.stat().st_size * share)])
    refused(start, r"cut\.zip: damaged or cut off, or no step\.zip", of=path)


def test_a_step_file_with_a_flipped_byte(start, step, tmp_path):
    data = step.read_bytes()
    for place in np.linspace(200, len(data) - 30, 12).astype(int):
        path = tmp_path / "flipped.zip"
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            read = step_file.read(path)
        except UserError as error:
            assert "flipped.zip" in str(error) and "\n" not in str(error)
        else:  # in a field of the zip that nothing depends on, such as a date
            assert read.step == step_file.read(step).step


def test_no_step_file(start, tmp_path):
    refused(start, "absent.zip: No such file or directory; python -m training.export_step", of=tmp_path / "absent.zip")


def test_a_step_of_another_platform(start, tmp_path):
    of = toy_step.write(tmp_path / "cuda.zip", platforms=["cuda"])
    refused(start, r"exported for cuda, and JAX finds cpu here; export it with --platforms cuda,cpu", of=of)


def test_a_step_that_jax_cannot_read(start, step, tmp_path):
    contents = step_file.read(step)
    step_file.write(
        tmp_path / "other.zip",
        step_file.StepFile(contents.description, "", b"not a step at all", contents.state, contents.anchors),
    )
    refused(start, r"JAX .* cannot read a step that 0 wrote", of=tmp_path / "other.zip")


def test_without_jax(start, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    refused(start, r"JAX cannot be loaded .*pip install 'jax\[cuda12\]'")


def test_devices_that_are_not_there_or_cannot_share_a_batch(start, monkeypatch):
    refused(start, "--devices 64: JAX finds 1 here", "--devices", "64")


@pytest.mark.parametrize(
    ("images", "options", "match"),
    [
        (3, {"faces": 0}, "no image of the records has a face that counts"),
        (3, {"label": 2}, "record 1: has a face of class 2, and the step knows 1"),
        (0, {}, "the records hold no image"),
    ],
)
def test_records_that_it_cannot_train_on(start, tmp_path, images, options, match):
    refused(start, match, on=write_records(tmp_path / "bad.tfrecord", images, **options))


def test_records_that_are_cut_off_or_absent(start, records, tmp_path):
    path = tmp_path / "cut.tfrecord"
    path.write_bytes(records.read_bytes()[:-40])
    refused(start, "cut.tfrecord, record 9: torn off", on=path)
    refused(start, "no TFRecord file there", on=tmp_path / "absent")


def test_an_image_that_cannot_be_decoded(start, tmp_path):
    data = cv2.imencode(".png", np.zeros((40, 40, 3), np.uint8))[1].tobytes()[:60]
    image = AnnotatedImage("a.png", 40, 40, np.array([[1.0, 1, 30, 30]]), ["face"], data)
    example = tf_example.encode(image, EncodedImage(data, "png", 40, 40, (40, 40)), {"face": 1})
    (tmp_path / "bad.tfrecord").write_bytes(tfrecord_file.frame(example))
    refused(start, "bad.tfrecord, record 1: ", on=tmp_path / "bad.tfrecord")


def test_going_on_with_other_records_or_another_step(start, tmp_path):
    assert start("wrong", "--steps", "4") == 0
    others = write_records(tmp_path / "other.tfrecord", images=5)
    refused(start, r"trained on 9 images, and .*other\.tfrecord has others \(5\)", "--steps", "8", on=others)
    refused(start, "of another step file than", of=toy_step.write(tmp_path / "seed.zip", seed=1))


def test_a_state_that_is_damaged(start, tmp_path):
    assert start("wrong", "--steps", "4") == 0
    path = tmp_path / "wrong/w.state.npz"
    path.write_bytes(path.read_bytes()[:-200])
    refused(start, r"w\.state\.npz: damaged", "--steps", "8")


def test_a_loss_that_is_not_finite(start, tmp_path):
    def loss(variables, *batch):
        import jax.numpy as jnp

        (sums, *rest), new = toy_step.loss(variables, *batch)
        large = jnp.where(jnp.abs(variables["guess/bias"]) > 0.2, jnp.nan, 0.0).sum()
        return ({name: value + large for name, value in sums.items()}, *rest), new

    of = toy_step.write(tmp_path / "nan.zip", loss=loss)
    refused(start, r"step \d+: not finite: .*total nan; w\.state\.npz has the last whole state", of=of)
    state, _ = step_state.load(tmp_path / "wrong/w.state.npz")
    assert state["step"] == 4 and np.isfinite(state["variables"]["guess/kernel"]).all()


@pytest.mark.parametrize(
    "arguments", [["--steps", "0"], ["--stop-after", "soon"], ["--workers", "0"], ["--memory", "-1"]]
)
def test_options_that_make_no_sense(start, arguments):
    with pytest.raises(SystemExit) as ended:
        start("wrong", *arguments)
    assert ended.value.code == 2
