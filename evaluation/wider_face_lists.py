"""Which faces WIDER FACE's easy, medium and hard evaluations look for: the official lists, or a rule that gives them.

The official lists for the validation images are wider_easy_val.mat, wider_medium_val.mat and wider_hard_val.mat in
eval_tools.zip (http://shuoyang1213.me/WIDERFACE/). For whoever does not have them, or evaluates on other images, faces
go by their height in the original image: easy are those above 50 pixels, medium those above 30 and hard those above 10,
without the invalid ones. Of the 39,708 faces of the official lists that rule puts 810 on the wrong side in hard, 236 in
medium and 84 in easy, nearly all of them of exactly 10, 30 or 50 pixels, of which the lists have one half. On 400 of
the validation images three detectors got .007 to .016 more in hard than by the lists, and .002 at most in the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from detect_faces.errors import UserError
from evaluation.matching import not_counted
from tools.annotations import AnnotatedImage

SETTINGS = {"easy": 50, "medium": 30, "hard": 10}  # above this height, in pixels, where the lists are not given
OFFICIAL, BY_HEIGHT = "official lists", "by height"


@dataclass(frozen=True, eq=False)
class WiderFaces:
    """The true boxes of one image as the protocol takes them.

    Attributes:
        xyxy: (N, 4) float64.
        wanted: {"easy": (N,) bool, ...}: the faces to be found; the others are no mistake when found.
    """

    xyxy: np.ndarray
    wanted: dict[str, np.ndarray]


def by_height(images: Sequence[AnnotatedImage]) -> list[WiderFaces]:
    """The faces of each image, wanted by their height; `ignore` boxes and groups never are."""
    result = []
    for image in images:
        height = np.where(not_counted(image), 0, image.xyxy[:, 3] - image.xyxy[:, 1])
        result.append(WiderFaces(image.xyxy, {name: height > limit for name, limit in SETTINGS.items()}))
    return result


def official(images: Sequence[AnnotatedImage], folder: str | Path) -> list[WiderFaces]:
    """The faces of each image from the official lists, whose boxes are used too: the annotations give names only.

    An image of WIDER FACE without faces has a box of zeros in the lists, which nothing matches.

    Args:
        folder: where wider_easy_val.mat, wider_medium_val.mat and wider_hard_val.mat are.

    Raises:
        UserError: a list cannot be read, or has not all the images.
    """
    lists = {name: _read(Path(folder) / f"wider_{name}_val.mat") for name in SETTINGS}
    keys = [str(PurePosixPath(image.name).with_suffix("")) for image in images]
    missing = [image.name for image, key in zip(images, keys, strict=True) if any(key not in x for x in lists.values())]
    if missing:
        more = "" if len(missing) == 1 else ", ..."
        raise UserError(
            f"{folder}: {len(missing)} of {len(images)} images are not in the lists ({missing[0]}{more}); the lists "
            "are for WIDER FACE's validation images, others are evaluated without them"
        )
    result = []
    for key in keys:
        boxes = lists["hard"][key][0]
        wanted = {name: np.isin(np.arange(len(boxes)), lists[name][key][1]) for name in SETTINGS}
        result.append(WiderFaces(boxes, wanted))
    return result


def _read(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{"event/image": (xyxy boxes (N, 4), rows of the faces to be found)} of one list."""
    try:
        content = loadmat(path)
        events, files, boxes, faces = (content[key] for key in ("event_list", "file_list", "face_bbx_list", "gt_list"))
        result = {}
        for event in range(len(events)):
            folder = str(events[event, 0][0])
            for image in range(len(files[event, 0])):
                x, y, width, height = boxes[event, 0][image, 0].astype(np.float64).reshape(-1, 4).T
                rows = faces[event, 0][image, 0].astype(np.int64).reshape(-1) - 1  # MATLAB counts from 1
                name = f"{folder}/{files[event, 0][image, 0][0]}"
                result[name] = np.column_stack([x, y, x + width, y + height]), rows
        return result
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror or error}; give the folder of wider_easy_val.mat and so on"
        ) from error
    except (KeyError, ValueError, IndexError, TypeError, NotImplementedError, MatReadError) as error:
        raise UserError(f"{path}: not one of WIDER FACE's lists ({error!r}); take it from eval_tools.zip") from error
