"""pipeline.config files: found, read, completed for a run, and written down again."""

from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format
from object_detection.protos.pipeline_pb2 import TrainEvalPipelineConfig

from detect_faces.errors import UserError
from tools import text_proto
from training.od_api import overrides as field_overrides

PIPELINES = Path(__file__).parents[2] / "pipelines"


def load(pipeline: str | Path, overrides: Iterable[str] = ()) -> TrainEvalPipelineConfig:
    """Reads a config by its path, or by its name in pipelines/ (with or without .config).

    Args:
        pipeline: path or name.
        overrides: FIELD=VALUE texts of --set, as training.od_api.overrides says.

    Raises:
        UserError: there is no such pipeline, the file has an error (the message says in which line), an override has,
            or the config names no model or no optimizer.
    """
    path = find(pipeline)
    config = field_overrides.apply(parse(read(path), path), overrides)
    if meta_architecture(config) is None or config.train_config.optimizer.WhichOneof("optimizer") is None:
        raise UserError(f"{path}: a pipeline.config needs a model and an optimizer; those in pipelines/ show how")
    return config


def find(pipeline: str | Path) -> Path:
    """The file of a config, by its path or its name in pipelines/. Raises UserError where there is none."""
    path = Path(pipeline)
    if not path.is_file():
        path = PIPELINES / f"{str(pipeline).removesuffix('.config')}.config"
    if not path.is_file():
        known = ", ".join(sorted(config.stem for config in PIPELINES.glob("*.config")))
        raise UserError(f"{pipeline}: no such pipeline; give the path of a pipeline.config or one of: {known}")
    return path


def read(path: Path) -> str:
    """The text of a config. Raises UserError where the file holds none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text, so not a pipeline.config ({error.reason})") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the path of a pipeline.config") from error


def parse(text: str, path: Path) -> TrainEvalPipelineConfig:
    """The config in a text; `path` is where it comes from. Raises UserError with line and column of what is wrong."""
    try:
        return text_proto.parse(text, TrainEvalPipelineConfig())
    except text_proto.TextError as error:
        where = f", line {error.line}, column {error.column}" if error.line else ""
        raise UserError(f"{path}{where}: {error.reason}") from error


def complete(
    pipeline: TrainEvalPipelineConfig,
    *,
    records: list[str],
    label_map: str | Path,
    checkpoint: str | Path | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
) -> TrainEvalPipelineConfig:
    """A copy of a config with what differs from run to run filled in.

    A cosine schedule's `total_steps` follows `steps`, and its warm-up is cut to a tenth of a shorter run.
    """
    done = TrainEvalPipelineConfig()
    done.CopyFrom(pipeline)
    train = done.train_config
    done.train_input_reader.tf_record_input_reader.input_path[:] = records
    done.train_input_reader.label_map_path = str(label_map)
    for reader in done.eval_input_reader:
        reader.label_map_path = str(label_map)
    if checkpoint is not None:
        train.fine_tune_checkpoint = str(checkpoint)
    if batch_size is not None:
        train.batch_size = batch_size
    if steps is not None:
        train.num_steps = steps
        optimizer = getattr(train.optimizer, train.optimizer.WhichOneof("optimizer"))
        if optimizer.learning_rate.HasField("cosine_decay_learning_rate"):
            schedule = optimizer.learning_rate.cosine_decay_learning_rate
            schedule.total_steps = max(steps, 1)
            schedule.warmup_steps = min(schedule.warmup_steps, steps // 10)
    return done


def text(pipeline: TrainEvalPipelineConfig) -> str:
    """The config as the text that `load` reads."""
    return text_format.MessageToString(pipeline)


def meta_architecture(pipeline: TrainEvalPipelineConfig) -> str:
    """ "ssd" or "faster_rcnn"."""
    return pipeline.model.WhichOneof("model")


def meta_config(pipeline: TrainEvalPipelineConfig):
    """The config of the model itself, of its meta-architecture's message type."""
    return getattr(pipeline.model, meta_architecture(pipeline))


def num_classes(pipeline: TrainEvalPipelineConfig) -> int:
    return meta_config(pipeline).num_classes
