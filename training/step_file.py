"""step.zip: a training step that runs wherever JAX does, with the state that it starts from and what it needs to know.

    description.json    shapes, augmentation, versions, ...: the fields of Description
    pipeline.config     that it was made of
    step.jax            the step of training.jax_step, serialised by jax.export
    state.npz           the variables that it starts from, of training.step_state
    anchors.npy         (anchors, 4) float32 yxyx in 0..1: what the boxes are matched to

The checksums of the zip are those of its contents; nothing in it is pickled, and nothing of it is run but the step.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from detect_faces.errors import UserError
from detect_faces.whole_file import whole_file
from training import step_state

FORMAT = 1
_DATE = (1980, 1, 1, 0, 0, 0)  # of each file in the zip: the same step is the same bytes


@dataclass(frozen=True)
class Description:
    """What a step is, and what it has to be fed with.

    Attributes:
        platforms: that it was lowered for: cpu, cuda, rocm, tpu.
        batch_size: images of a step.
        height, width: of the images, in pixels.
        boxes: of an image, with the padding.
        classes: without the background.
        trained: the names of the variables that are trained.
        inputs: of the step behind its state: [{"name", "shape", "dtype", "what"}].
        normalisation: what the step makes of the pixel values 0 and 255 before the network sees them.
        compute: the type of the activations: float32 or bfloat16; the state is float32.
        steps: of the whole schedule, total_steps: of its cosine, warmup_steps: of its beginning.
        rule: of training.jax_step.Rule.
        seed: of the order of the images and their augmentation.
        save_every: steps between checkpoints.
        letterbox: whether whole images keep their aspect ratio.
        face_crop: {"share", "min_size", "max_size", "max_zoom"}, or None where images are taken whole.
        smallest_face: pixels at the input, square root of the area; smaller faces get weight 0.
        augmentation: [{"name", ...}] of training.colour, and random_horizontal_flip, in their order.
        restored: what the weights start from, in words.
        versions: of the packages that it was made with.
        format: of this file.
    """

    platforms: list[str]
    batch_size: int
    height: int
    width: int
    boxes: int
    classes: int
    trained: list[str]
    inputs: list[dict]
    normalisation: list[float]
    compute: str
    steps: int
    total_steps: int
    warmup_steps: int
    rule: dict
    seed: int
    save_every: int
    letterbox: bool
    face_crop: dict | None
    smallest_face: float
    augmentation: list[dict]
    restored: str
    versions: dict
    format: int = FORMAT

    def schedule(self, steps: int | None) -> tuple[int, int]:
        """(total steps, steps of warm-up) of a run of so many; as `training.od_api.pipeline.complete` cuts it."""
        if steps is None:
            return self.total_steps, self.warmup_steps
        return max(steps, 1), min(self.warmup_steps, steps // 10)


@dataclass(frozen=True)
class StepFile:
    """The contents of a step.zip.

    Attributes:
        description, pipeline, step, anchors: as the module says.
        state: before the first step, of training.step_state.
        digest: SHA-256 of the file, hexadecimal; "" of one that isn't read from a file.
    """

    description: Description
    pipeline: str
    step: bytes
    state: Mapping
    anchors: np.ndarray
    digest: str = ""


def write(path: Path, contents: StepFile) -> None:
    """Writes a step.zip, whole or not at all."""
    anchors = io.BytesIO()
    np.save(anchors, contents.anchors)
    parts = {
        "description.json": json.dumps(asdict(contents.description), indent=2).encode() + b"\n",
        "pipeline.config": contents.pipeline.encode(),
        "step.jax": contents.step,
        "state.npz": step_state.to_bytes(contents.state, parts=("variables",)),
        "anchors.npy": anchors.getvalue(),
    }
    with whole_file(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in parts.items():
            kind = zipfile.ZIP_STORED if name == "state.npz" else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, _DATE), data, kind)


def read(path: Path) -> StepFile:
    """The contents of a step.zip. Raises UserError where there is none, or no whole one, or one of another format."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; python -m training.export_step makes a step.zip") from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            said = json.loads(archive.read("description.json"))
            if said["format"] != FORMAT:
                raise UserError(
                    f"{path}: of format {said['format']}, where {FORMAT} is read here; export the step again"
                )
            description = Description(**{field.name: said[field.name] for field in fields(Description)})
            pipeline, step = archive.read("pipeline.config").decode(), archive.read("step.jax")
            stored, _ = step_state.from_bytes(archive.read("state.npz"), ("variables",))
            state = step_state.initial_state(stored["variables"], description.trained)
            anchors = np.load(io.BytesIO(archive.read("anchors.npy")), allow_pickle=False)
    except (*step_state.DAMAGED, TypeError) as error:
        raise UserError(f"{path}: damaged or cut off, or no step.zip; copy it or export it again") from error
    return StepFile(description, pipeline, step, state, anchors, hashlib.sha256(data).hexdigest())
