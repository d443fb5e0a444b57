"""Export a run: frozen graph, SavedModel, TFLite with model.json, pipeline.config and label map, in one folder.

make export RUN=demo
python -m export --run runs/demo --output exported-models/demo
"""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

from detect_faces.errors import EXIT_OK, UserError, run_command
from detect_faces.options import score
from detect_faces.quiet import keep_stderr_for_python
from tools import label_map
from training.console import say

MIN_SCORE = 0.5
FROZEN_GRAPH = "frozen_inference_graph.pb"


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)

    from export import calibration, description, frozen_graph, input_sizes, tflite
    from export.pipeline_model import checkpoint_names
    from training import run_folder
    from training.od_api import exporter, trainer_settings
    from training.od_api import model as detection_model
    from training.od_api import pipeline as pipeline_config

    config_path = run_folder.config_path(options.run)
    pipeline = pipeline_config.load(config_path)
    weights = run_folder.weights_path(options.run)
    classes = label_map.read(options.label_map)
    if options.output.exists() and not (options.output / FROZEN_GRAPH).is_file():  # a run has a pipeline.config, too
        raise UserError(f"{options.output}: there is something that is not an export; give another --output")
    if len(classes) != (expected := pipeline_config.num_classes(pipeline)):
        raise UserError(
            f"{options.label_map} has {len(classes)} classes, the run {expected}; give the run's --label-map"
        )
    other_sizes = []
    if options.sizes:
        if pipeline_config.meta_architecture(pipeline) != "ssd":
            raise UserError("--sizes is for one-stage (ssd) models: others become no TFLite")
        trained = description.input_size(pipeline)
        input_sizes.check(config_path, trained, options.sizes)
        pipeline = input_sizes.resized(pipeline, options.sizes[0])
        other_sizes = [(size, size) for size in dict.fromkeys(options.sizes[1:]) if size != options.sizes[0]]
    if options.min_score is not None and pipeline_config.meta_architecture(pipeline) != "ssd":
        raise UserError("--min-score is for one-stage (ssd) models; of others detect-faces --min-score says it")
    if options.int8 and pipeline_config.meta_architecture(pipeline) != "ssd":
        raise UserError("--int8 is for one-stage (ssd) models: others become no TFLite")
    photographs = calibration.check(options.int8) if options.int8 else 0
    model = detection_model.build(pipeline, training=False)
    run_folder.restore_weights(weights, model)

    options.output.parent.mkdir(parents=True, exist_ok=True)
    # All of it is made beside its place and moved there at the end: the folder never holds models of two runs.
    with tempfile.TemporaryDirectory(dir=options.output.parent, prefix=".export-") as folder:
        made = Path(folder, "model")
        made.mkdir(mode=0o755)
        say(f"SavedModel of {weights}")
        exporter.export_saved_model(pipeline, model, made / "saved_model")
        say("frozen graph")
        names = checkpoint_names(pipeline, model)
        variables = {names[variable.name]: variable.numpy() for variable in model.variables}
        frozen = frozen_graph.freeze(made / "saved_model", variables)
        (made / FROZEN_GRAPH).write_bytes(frozen.SerializeToString())
        if pipeline_config.meta_architecture(pipeline) == "ssd":
            say(f"TFLite, int8, measured on {photographs} photographs" if photographs else "TFLite, float16")
            names = sorted(classes, key=classes.get)
            min_score = MIN_SCORE if options.min_score is None else options.min_score
            described = description.describe(pipeline, model, options.output.name, names, min_score, other_sizes)
            sizes = [description.input_size(pipeline), *other_sizes]
            inputs = None
            if photographs:
                described["decoding"] = description.decoding(pipeline, config_path, sizes)
                inputs = calibration.inputs(options.int8, described, sizes)
            (made / described["model"]).write_bytes(tflite.convert(model, sizes, inputs))
            (made / "model.json").write_text(json.dumps(described, indent=2) + "\n")
        else:
            say("no TFLite: only one-stage (ssd) models convert to it")
        (made / "pipeline.config").write_text(pipeline_config.text(trainer_settings.removed(pipeline)))
        shutil.copyfile(options.label_map, made / "label_map.pbtxt")
        replace(made, options.output)

    for path in sorted(options.output.iterdir()):
        size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
        print(f"{size / 1e6:7.2f} MB  {path}")
    if (options.output / "model.json").is_file():
        say(f"next: detect-faces PHOTO --model {options.output}, make compare RUN={options.output.name}")
    else:
        say(f"next: detect-faces PHOTO --backend tensorflow --model {options.output / 'saved_model'}")
    return EXIT_OK


def replace(made: Path, output: Path) -> None:
    """Moves a folder to `output`, in the place of an earlier export there."""
    if output.exists():
        os.rename(output, made.parent / "before")
    os.rename(made, output)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, type=Path, help="run folder, such as runs/demo")
    parser.add_argument("--output", required=True, type=Path, help="folder to make, such as exported-models/demo")
    parser.add_argument("--label-map", type=Path, default=Path("data/label_map.pbtxt"))
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        metavar="N",
        help="sides of the inputs that the TFLite model takes, the first by default, also in the graphs "
        "[that of the pipeline]",
    )
    parser.add_argument(
        "--min-score",
        type=score,
        help="score from which detect-faces shows a face [0.5]; `make eval` prints the one of the best F1",
    )
    parser.add_argument(
        "--int8",
        type=Path,
        metavar="PHOTOGRAPHS",
        help="make the TFLite model compute in 8 bits, with ranges measured on photographs such as it will see: a "
        "folder of them, or records; 100 are taken",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    keep_stderr_for_python()  # the converters talk to it from C++
    run_command(main)
