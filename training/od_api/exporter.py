"""The OD API's own exporter: weights of a run to a SavedModel."""

import tempfile
from pathlib import Path

from object_detection import exporter_lib_v2


def export_saved_model(pipeline, weights: str, output: Path) -> None:
    """Writes a SavedModel that takes `input_tensor`, uint8 (1, H, W, 3) RGB of any size, to the folder `output`.

    Args:
        pipeline: the run's TrainEvalPipelineConfig.
        weights: prefix of a checkpoint, the latest of its folder.
    """
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        exporter_lib_v2.export_inference_graph("image_tensor", pipeline, str(Path(weights).parent), folder)
        Path(folder, "saved_model").rename(output)
