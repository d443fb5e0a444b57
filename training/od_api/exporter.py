"""The OD API's own exporter: a model to a SavedModel."""

import tempfile
from pathlib import Path

from object_detection import exporter_lib_v2
from object_detection.core.model import DetectionModel

from training import run_folder


def export_saved_model(pipeline, model: DetectionModel, output: Path) -> None:
    """Writes a SavedModel that takes `input_tensor`, uint8 (1, H, W, 3) RGB of any size, to the folder `output`.

    Args:
        pipeline: a TrainEvalPipelineConfig.
        model: of that config, with the weights to export. The OD API builds one of its own and takes the newest
            checkpoint of a folder, which in that of a run may be another by now: here it is saved for it.
        output: must not exist; the folder it is in is made use of meanwhile.
    """
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        run_folder.save_weights(Path(folder, "weights"), model, 0)
        exporter_lib_v2.export_inference_graph("image_tensor", pipeline, str(Path(folder, "weights")), folder)
        Path(folder, "saved_model").rename(output)
