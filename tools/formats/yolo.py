"""YOLO labels (Darknet, Ultralytics): one text file for each image, a line `class cx cy width height` for each box.

    0 0.481719 0.634028 0.690625 0.713278

The class is a number from 0, the box its centre and size in fractions of the upright image. Rows of more numbers are
outlines, `class x1 y1 x2 y2 x3 y3 ...`, taken as their tight boxes; but where data.yaml has `kpt_shape`, [points, 2 or
3], a box may be followed by that many landmark numbers, which are not read. Without it nothing tells landmarks from an
outline. Source: https://docs.ultralytics.com/datasets/detect/ and verify_image_label of ultralytics/data/utils.py.

Annotations are one of
- data.yaml (Ultralytics): `train`, `val` and `test` are a folder of images, a text file that lists images, or a list
  of these, below `path` or, where that is not there, beside data.yaml; `names` is a list or {number: name}. The label
  file of an image is found by its path: the last /images/ in it becomes /labels/, the suffix .txt. Without --images the
  file must have one split, or all of them the same; otherwise --images is the folder, or the list, of one of them. If
  the rule finds no labels for it they are looked for in `labels` beside data.yaml.
- a folder of label files, with the same paths as the images in --images but for the suffix. The names are in
  classes.txt, obj.names (a name on each line) or data.yaml, in that folder or beside it; beside `labels` for a folder
  like labels/train. Without these the numbers are the names.
An image without a label file, or with an empty one, has no boxes: it is a background, and is kept.

Saving writes labels/<image>.txt, images.txt (all images), and data.yaml, whose train and val are both images.txt;
classes are numbered as they first appear, and all flags are dropped. Ultralytics finds labels by the path of the image
only, so image files that stay elsewhere get a symbolic link in images/. There is no `path` in data.yaml: Ultralytics
then takes the folder it lies in, and would look for a relative path from where it is started.
"""

import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from detect_faces.errors import UserError
from detect_faces.whole_file import write_whole
from tools import boxes
from tools.annotations import AnnotatedImage
from tools.files import only_writer
from tools.formats import ImageStream
from tools.images import SUFFIXES, ImageError, image_folder, path_inside, put_image, upright_size
from tools.report import Report

ANNOTATIONS = "data.yaml"  # what save calls it
IMAGE_LIST = "images.txt"
_UNFINISHED = ".labels.part"  # in the output folder
KEEPS = ("class",)

_SPLITS = ("train", "val", "validation", "valid", "test")
_NAME_FILES = ("classes.txt", "obj.names", "data.yaml")
_MANY = 10**6  # no set has as many classes
_FAR_OUTSIDE = 3.0  # image widths; coordinates farther out than this are pixels or a mistake


@dataclass(frozen=True)
class _Config:
    """What data.yaml and its like say.

    Attributes:
        names: {class number: name}; None where every number is its own name.
        landmarks: how many numbers may follow a box.
        splits: {"train", ...: folders and lists of images}.
        path: as the file has it; empty for none.
    """

    names: dict[int, str] | None = None
    landmarks: int = 0
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    path: str = ""


@dataclass(frozen=True)
class _Pair:
    """An image, and the label file that its path calls for, which need not exist. place: what lists the image."""

    name: str
    image: Path
    label: Path
    place: str


@dataclass(frozen=True)
class _Files:
    """The images of a set, and label files without an image."""

    pairs: list[_Pair]
    strays: list[Path]


def load(
    annotations: str | Path, images: str | Path | None, classes: Mapping[str, str] | None, report: Report
) -> ImageStream:
    """The images of a data.yaml or of a folder of label files; those of a folder in the order of their paths."""
    annotations = Path(annotations)
    if annotations.is_dir():
        config = _config_near(annotations)
        files = _mirrored(image_folder(images), annotations)
    elif annotations.suffix.lower() in (".yaml", ".yml"):
        config = _read_yaml(annotations)
        files = _found_by_rule(_places(annotations, config, images))
        beside = annotations.parent / "labels"
        if images is not None and Path(images).is_dir() and beside.is_dir() and not _has_labels(files):
            files = _mirrored(Path(images), beside)
    else:
        reason = "neither a data.yaml nor a folder of label files" if annotations.exists() else "no such file or folder"
        raise UserError(f"{annotations}: {reason}")
    where = f" in {images}" if images is not None else ""
    if not files.pairs:
        raise UserError(f"{annotations}: no image{where}")
    if not _has_labels(files):
        raise UserError(
            f"{annotations}: not one of the {len(files.pairs)} images{where} has a label file; the first would be "
            f"{files.pairs[0].label}"
        )
    return ImageStream(len(files.pairs) + len(files.strays), _load(files, config, classes, report))


def save(images: Iterable[AnnotatedImage], output: str | Path, report: Report) -> None:
    """Writes `output`/data.yaml, images.txt and labels/; `output`/images gets the images that are not files yet.

    Those that are files get a symbolic link there. What `output` holds of another set, such as labels of images that
    are not in this one, stays; images.txt does not list it.
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    with only_writer(output):
        unfinished = output / _UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            _save(images, output, unfinished, report)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _save(images: Iterable[AnnotatedImage], output: Path, unfinished: Path, report: Report) -> None:
    numbers: dict[str, int] = {}  # of the classes
    labels: dict[str, str] = {}  # {path below output: image}
    for image in images:
        try:
            name = put_image(image, output / "images")
            target = path_inside(output / "images", name)
            if name != name.strip() or len(name.splitlines()) != 1:
                raise ImageError(f"{name!r} would not be read as an image's path in {IMAGE_LIST}")
            label = _label_of(f"/images/{name}").removeprefix("/")
            if first := labels.get(label):
                raise ImageError(f"differs from {first} by its suffix only; this one is left out")
            if isinstance(image.source, Path):
                _link(image.source, target)
        except ImageError as error:
            report.problem(" ".join(image.name.splitlines()), str(error))
            continue
        labels[label] = name
        (unfinished / label).parent.mkdir(parents=True, exist_ok=True)
        (unfinished / label).write_text("".join(_rows_of(image, numbers)), encoding="utf-8")
        report.images += 1
        report.boxes += len(image)
    report.need_images(output)
    (output / ANNOTATIONS).unlink(missing_ok=True)  # until all labels are in place: they could be those of two sets
    for label in labels:
        (output / label).parent.mkdir(parents=True, exist_ok=True)
        (unfinished / label).replace(output / label)
    os.sync()  # once: an fsync for each of the many small files would take minutes
    write_whole(output / IMAGE_LIST, "".join(f"./images/{name}\n" for name in labels.values()).encode())
    names = {number: name for name, number in numbers.items()}
    config = {"train": IMAGE_LIST, "val": IMAGE_LIST, "names": names}
    write_whole(output / ANNOTATIONS, yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode())


def _rows_of(image: AnnotatedImage, numbers: dict[str, int]) -> Iterator[str]:
    """The lines of an image's label file. A class that is new gets the next of `numbers`."""
    for (xmin, ymin, xmax, ymax), name in zip(image.xyxy.tolist(), image.classes, strict=True):
        box = (
            (xmin + xmax) / 2 / image.width,
            (ymin + ymax) / 2 / image.height,
            (xmax - xmin) / image.width,
            (ymax - ymin) / image.height,
        )
        number = numbers.setdefault(name, len(numbers))
        yield " ".join([str(number), *(f"{value:.9g}" for value in box)]) + "\n"


def _link(source: Path, target: Path) -> None:
    """Makes `target` a symbolic link to `source`, unless it is that file. Raises ImageError where another file is."""
    if target.exists() and target.samefile(source):
        return
    if target.exists() and not target.is_symlink():
        raise ImageError(f"{target} is another image; remove it or give another folder")
    part = target.with_name(f".{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    part.unlink(missing_ok=True)
    try:
        part.symlink_to(source.resolve())
    except OSError as error:
        raise UserError(f"{target}: no symbolic link can be made ({error.strerror}); give --copy-images") from error
    part.replace(target)


def _label_of(image: str) -> str:
    """The path of the label file of an image, by Ultralytics' rule."""
    before, found, behind = image.rpartition("/images/")
    return os.path.splitext(f"{before}/labels/{behind}" if found else image)[0] + ".txt"


def _walk(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """The paths of files in `folder` and below, with forward slashes, in order; without hidden ones."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(parent, folder)
        found += [
            os.path.normpath(os.path.join(below, name))
            for name in files
            if name.lower().endswith(suffixes) and not name.startswith(".")
        ]
    return sorted(found)


def _mirrored(folder: Path, labels: Path) -> _Files:
    """The images in `folder`, whose label files have the same paths in `labels`."""
    pairs = []
    for name in _walk(folder, SUFFIXES):
        label = labels / (os.path.splitext(name)[0] + ".txt")
        pairs.append(_Pair(name, folder / name, label, str(folder / name)))
    return _Files(pairs, _strays(labels, pairs))


def _found_by_rule(places: list[Path]) -> _Files:
    """The images of folders and lists, whose label files go by Ultralytics' rule."""
    images: list[tuple[Path, str]] = []
    for place in places:
        if place.is_dir():
            images += [(place / name, str(place / name)) for name in _walk(place, SUFFIXES)]
        else:
            images += [
                (Path(os.path.normpath(place.parent / text)), f"{place}, line {number}")
                for number, text in _text_lines(place, "a list of images")
            ]
    if not images:
        return _Files([], [])
    folders = places if all(place.is_dir() for place in places) else {_base(path) for path, _ in images}
    base = os.path.commonpath(folders)
    pairs = [_Pair(os.path.relpath(path, base), path, Path(_label_of(str(path))), place) for path, place in images]
    strays = []
    for place in places:
        labels = Path(_label_of(str(place / "_.jpg"))).parent
        if labels != place and place.is_dir():  # where labels lie beside the images, other texts may do so as well
            strays += _strays(labels, pairs)
    return _Files(pairs, strays)


def _base(image: Path) -> Path:
    """The folder below which a listed image has its name."""
    before, found, _ = str(image).rpartition("/images/")
    return Path(before + found) if found else image.parent


def _strays(labels: Path, pairs: list[_Pair]) -> list[Path]:
    known = {pair.label for pair in pairs}
    found = [labels / name for name in _walk(labels, (".txt",))]
    return [path for path in found if path not in known and path.name not in _NAME_FILES]


def _has_labels(files: _Files) -> bool:
    return any(os.path.isfile(pair.label) for pair in files.pairs)


def _places(path: Path, config: _Config, images: str | Path | None) -> list[Path]:
    """The folders and lists of images to take, as absolute paths. Raises UserError where that is not clear."""
    if images is not None:
        is_list = os.path.isfile(images) and str(images).lower().endswith(".txt")
        return [Path(os.path.abspath(images if is_list else image_folder(images)))]
    splits = {split: _resolved(path, config, split) for split in config.splits}
    if not splits:
        raise UserError(f"{path}: it names no images (train, val or test): give --images")
    first, *others = splits.values()
    if any(places != first for places in others):
        named = ", ".join(f"{split} ({' '.join(map(str, places))})" for split, places in splits.items())
        raise UserError(f"{path}: it has several splits: give one as --images; {named}")
    return first


def _resolved(path: Path, config: _Config, split: str) -> list[Path]:
    """The folders and lists of a split."""
    places = []
    for text in config.splits[split]:
        # Some exports have ../train/images where train/images is meant; Ultralytics tries both.
        texts = [text, text[3:]] if text.startswith("../") else [text]
        tried = [os.path.abspath(path.parent / root / text) for root in (config.path, "") for text in texts]
        there = [place for place in tried if os.path.isdir(place) or os.path.isfile(place)]
        if not there:
            raise UserError(f"{path}: there is no {tried[0]!r} ({split}); give the folder of images as --images")
        places.append(Path(there[0]))
    return places


def _config_near(labels: Path) -> _Config:
    """The names of the classes from a file in the folder of labels or beside it."""
    folder = Path(os.path.abspath(labels))
    folders = [folder, folder.parent]
    if folder.parent.name == "labels":
        folders.append(folder.parent.parent)
    for path in (folder / name for folder in folders for name in _NAME_FILES):
        if path.suffix == ".yaml" and path.is_file():
            return _read_yaml(path)
        if path.is_file():
            return _Config({number - 1: text for number, text in _text_lines(path, "a list of class names")})
    return _Config()


def _text_lines(path: Path, what: str) -> list[tuple[int, str]]:
    """The lines of a text that are not blank, with their numbers. Raises UserError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text, so not {what}") from error
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def _read_yaml(path: Path) -> _Config:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the path of a data.yaml") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text, so not a data.yaml") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: not YAML ({error.problem or error.context})") from error
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        # What PyYAML raises on values that do not fit their tags, such as `!!bool x`.
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())[:80]})") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: no `key: value` in it, so not a data.yaml")
    root = data.get("path") or ""
    if not isinstance(root, str):
        raise UserError(f"{path}: `path` must be the path of a folder")
    splits = {split: _split(path, split, data[split]) for split in _SPLITS if data.get(split)}
    return _Config(_names(path, data.get("names")), _landmarks(path, data.get("kpt_shape")), splits, root)


def _names(path: Path, names: object) -> dict[int, str] | None:
    """{class number: name} of `names` in data.yaml."""
    if names is None:
        return None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict):
        raise UserError(f"{path}: `names` must be a list, or class numbers with their names")
    numbered = {}
    for number, name in names.items():
        is_text = isinstance(name, str) or (type(name) is int and 0 <= name < _MANY)
        if type(number) is not int or not 0 <= number < _MANY or not is_text:
            raise UserError(f"{path}: `names` must be texts, by class numbers from 0; put a name like yes into quotes")
        numbered[number] = str(name)
    return numbered


def _landmarks(path: Path, shape: object) -> int:
    """How many numbers follow a box by `kpt_shape` in data.yaml."""
    if shape is None:
        return 0
    is_pair = isinstance(shape, list) and [type(side) for side in shape] == [int, int]
    if not is_pair or shape[0] < 1 or shape[1] not in (2, 3):
        raise UserError(f"{path}: `kpt_shape` must be [number of points, 2 or 3]")
    return math.prod(shape)


def _split(path: Path, split: str, value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(value, str) for value in values):
        raise UserError(f"{path}: `{split}` must be a path or a list of paths")
    return tuple(values)


def _load(
    files: _Files, config: _Config, classes: Mapping[str, str] | None, report: Report
) -> Iterator[AnnotatedImage]:
    for label in files.strays:
        report.problem(str(label), "no image has this path but for its suffix")
    seen: dict[Path, str] = {}
    for pair in files.pairs:
        try:
            if first := seen.get(pair.label):
                how = "is there twice" if first == pair.name else f"has the same label file as {first}"
                raise ImageError(f"{how}; this one is left out")
            seen[pair.label] = pair.name
            if not os.path.isfile(pair.image):
                raise ImageError("no such file")
            width, height = upright_size(pair.image)
            rows = _label_lines(pair.label)
        except ImageError as error:
            report.problem(pair.place, f"{pair.name}: {error}" if pair.place != str(pair.image) else str(error))
            continue
        found = [_box(text, f"{pair.label}, line {number}", config, classes, report) for number, text in rows]
        kept = [box for box in found if box]
        xyxy = [[side * pixels for side, pixels in zip(box[0], [width, height] * 2, strict=True)] for box in kept]
        yield AnnotatedImage(pair.name, width, height, xyxy, tuple(box[1] for box in kept), pair.image)


def _label_lines(label: Path) -> list[tuple[int, str]]:
    """The lines of a label file that are not blank, with their numbers; none where it does not exist."""
    if not os.path.isfile(label):
        return []
    try:
        return _text_lines(label, "a label file")
    except UserError as error:
        raise ImageError(str(error)) from error


def _box(
    text: str, place: str, config: _Config, classes: Mapping[str, str] | None, report: Report
) -> tuple[tuple[float, float, float, float], str] | None:
    """The sides of a box as fractions, and its class; None for one that is left out."""
    try:
        number, sides = _parsed(text, config.landmarks)
        if config.names is not None and number not in config.names:
            raise ValueError(f"class {text.split()[0][:40]} has no name, {len(config.names)} have")
    except ValueError as error:
        report.problem(place, f"{error}; this box is left out")
        return None
    name = report.chosen(str(number) if config.names is None else config.names[number], classes)
    if name is None:
        return None
    if reason := boxes.fault(*sides):
        report.problem(place, f"{reason}: {text[:80]!r}; this box is left out")
        return None
    if min(sides) < -_FAR_OUTSIDE or max(sides) > 1 + _FAR_OUTSIDE:
        report.problem(place, f"must be fractions of the image, from 0 to 1: {text[:80]!r}; this box is left out")
        return None
    if sides[0] == sides[2] or sides[1] == sides[3]:
        report.dropped["zero size"] += 1
        return None
    return sides, name


def _parsed(text: str, landmarks: int) -> tuple[int, tuple[float, float, float, float]]:
    """The class number and sides of a line. Raises ValueError saying what is wrong."""
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        values = []
    if len(values) == 6:
        raise ValueError(f"has 6 numbers, as detections with a score have; labels have 5: {text[:80]!r}")
    is_outline = len(values) >= 7 and len(values) % 2 == 1 and not landmarks
    if not is_outline and len(values) not in (5, 5 + landmarks):
        raise ValueError(f"not `class cx cy width height` or `class x1 y1 x2 y2 x3 y3 ...`: {text[:80]!r}")
    if not (values[0].is_integer() and values[0] >= 0):
        raise ValueError(f"the class must be a number from 0, not {text.split()[0][:40]!r}")
    if is_outline:
        if min(values[1:]) <= -1:  # what stands for a landmark that is not annotated
            raise ValueError(f"an outline outside the image; with landmarks, data.yaml needs kpt_shape: {text[:80]!r}")
        xs, ys = values[1::2], values[2::2]
        sides = (min(xs), min(ys), max(xs), max(ys)) if all(map(math.isfinite, values)) else (math.nan,) * 4
    else:
        x, y, width, height = values[1:5]
        sides = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return int(values[0]), sides
