"""The command detect-faces: finds the faces in photographs and prints, saves or draws them."""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from detect_faces import __version__
from detect_faces.detections_file import ImageDetections
from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError, run_command
from detect_faces.quiet import keep_stderr_for_python

# OpenCV and LiteRT are imported where they are first used, so that --help and a wrong option are answered at once.

SHIPPED_MODEL = Path(__file__).parent / "models" / "fast"

EXAMPLES = """
examples:
  detect-faces photo.jpg                         print the faces
  detect-faces photo.jpg --draw faces.jpg        draw them as well
  detect-faces holidays/ --draw drawn/           a folder, with all folders in it
  detect-faces holidays/ --jsonl > faces.jsonl   a line of JSON for each image

exit codes: 0 all well, 1 some images failed (the others are done), 2 wrong usage, nothing done
"""


def main() -> NoReturn:
    """Entry point of the command."""
    keep_stderr_for_python()
    run_command(lambda: run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The command with these arguments; returns the exit code. Raises UserError for what stops it altogether."""
    options = _parser().parse_args(arguments)
    images = find_images(options.inputs)
    drawings = drawing_paths(images, options.inputs, options.draw) if options.draw else {}
    detector, min_score = _load_detector(options)
    failed = False

    def results() -> Iterator[ImageDetections]:
        nonlocal failed
        for path in images:
            try:
                yield _detect(detector, path, min_score, drawings.get(path))
            except UserError as error:
                failed = True
                print(f"error: {error}", file=sys.stderr)
                yield ImageDetections(str(path), error=str(error).removeprefix(f"{path}: "))

    if options.json:
        print(json.dumps([result.to_json() for result in results()], indent=1))
    else:
        for result in results():
            line = json.dumps(result.to_json()) if options.jsonl else as_text(result)
            if line:
                print(line, flush=True)
    return EXIT_SOME_FAILED if failed else EXIT_OK


def find_images(inputs: Iterable[Path]) -> list[Path]:
    """The files to read: a file whatever its name; of a folder, and the folders in it, those named as images, in order.

    What does not exist and a folder without images stay in the list, so that they are reported in their turn.
    """
    from detect_faces.images import SUFFIXES

    images = []
    for path in inputs:
        inner = sorted(path.rglob("*")) if path.is_dir() else []
        images += [file for file in inner if file.suffix.lower() in SUFFIXES and file.is_file()] or [path]
    return images


def drawing_paths(images: list[Path], inputs: list[Path], out: Path) -> dict[Path, Path]:
    """Where each image is drawn to: file `out` for one input file, otherwise a folder that is laid out as the inputs.

    Raises:
        UserError: a drawing would replace an input or another drawing, or has a name that is not an image's.
    """
    from detect_faces.images import SUFFIXES

    one_file = len(inputs) == 1 and not inputs[0].is_dir()
    if one_file and not out.is_dir():
        if out.suffix.lower() not in SUFFIXES:
            raise UserError(f"--draw {out}: end the name in one of {', '.join(SUFFIXES)}")
        drawings = {images[0]: out}
    elif out.exists() and not out.is_dir():
        raise UserError(f"--draw {out}: has to be a folder when there are several images, and this is a file")
    else:
        drawings = {image: out / _name_in_folder(image, inputs) for image in images}

    originals = {image.resolve() for image in images}
    drawn_from = {}
    for image, drawing in drawings.items():
        if drawing.resolve() in originals:
            raise UserError(f"--draw {out}: would overwrite the input {drawing}; give another name")
        if (other := drawn_from.setdefault(drawing.resolve(), image)) != image:
            raise UserError(f"--draw {out}: {other} and {image} would both become {drawing}; give their folder instead")
    return drawings


def as_text(result: ImageDetections) -> str:
    """For people: the number of faces, then a line for each, score first. Empty for an image that failed."""
    if result.error is not None:
        return ""
    count = len(result.faces)
    lines = [f"{result.image}: {count or 'no'} face{'' if count == 1 else 's'}"]
    for (x_min, y_min, x_max, y_max), score in zip(result.faces.xyxy, result.faces.scores, strict=True):
        lines.append(f"  {score:.2f}  from ({x_min:.0f}, {y_min:.0f}) to ({x_max:.0f}, {y_max:.0f})")
    return "\n".join(lines)


def _detect(detector, path: Path, min_score: float, drawing: Path | None) -> ImageDetections:
    from detect_faces.images import SUFFIXES, read_image, write_image

    if path.is_dir():
        raise UserError(f"{path}: no file in this folder ends in {', '.join(SUFFIXES)}")
    image = read_image(path)
    start = time.perf_counter()
    faces = detector.detect(image, min_score)
    ms = 1000 * (time.perf_counter() - start)
    if drawing:
        from detect_faces.draw import draw

        write_image(drawing, draw(image, faces))
    return ImageDetections(str(path), image.shape[1], image.shape[0], faces, ms)


def _load_detector(options: argparse.Namespace):
    if not options.model and not SHIPPED_MODEL.is_dir():
        raise UserError(
            "no model: none ships with this version; give --model FOLDER, for example exported-models/demo, "
            "which `make demo` in the project makes"
        )
    from detect_faces.detector import Detector

    detector = Detector(options.model or SHIPPED_MODEL, threads=options.threads)
    min_score = detector.model.min_score if options.min_score is None else options.min_score
    if min_score < detector.model.score_threshold:
        print(
            f"note: this model gives no score below {detector.model.score_threshold}; --min-score {min_score} is lower",
            file=sys.stderr,
        )
    return detector, min_score


def _name_in_folder(image: Path, inputs: list[Path]) -> Path:
    from detect_faces.images import SUFFIXES

    folder = next((path for path in inputs if path.is_dir() and image.is_relative_to(path)), image.parent)
    name = image.relative_to(folder)
    return name if name.suffix.lower() in SUFFIXES else name.with_name(name.name + ".jpg")


def score(text: str) -> float:
    """A score on the command line; argparse names the function in its message."""
    if not 0 <= float(text) <= 1:
        raise ValueError(text)
    return float(text)


def thread_count(text: str) -> int:
    """A number of threads on the command line."""
    if not 1 <= int(text) <= 64:
        raise ValueError(text)
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="detect-faces",
        description="Finds the faces in photographs (JPEG, PNG, WebP, BMP).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IMAGE", help="an image file, or a folder of them")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="an exported model: its folder or model.json")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON array with an object for each image")
    form.add_argument("--jsonl", action="store_true", help="print a line of JSON for each image as it is done")
    parser.add_argument(
        "--draw", type=Path, metavar="OUT", help="save the image with boxes; a folder when there are several images"
    )
    parser.add_argument(
        "--min-score", type=score, metavar="S", help="leave out faces with a lower score (default: as the model says)"
    )
    parser.add_argument(
        "--threads", type=thread_count, metavar="N", help="of the network (default: the CPUs, at most 4)"
    )
    parser.add_argument("--version", action="version", version=f"detect-faces {__version__}")
    return parser
