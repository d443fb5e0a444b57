"""The options of the command detect-faces."""

import argparse

from detect_faces.guards import MAX_BYTES, MAX_PIXELS, MAX_SECONDS

DESCRIPTION = (
    "Finds the faces in photographs (JPEG, PNG, WebP, BMP) and videos, and prints, draws, cuts out or hides them."
)
EXAMPLES = """
examples:
  detect-faces photo.jpg                            print the faces
  detect-faces photo.jpg --draw faces.jpg           draw them as well
  detect-faces holidays/ --blur shareable/          a folder, with all folders in it; every face blurred
  detect-faces holidays/ --crop faces/ --square     each face as a picture of its own
  detect-faces clip.mp4 --blur shareable.mp4        a video, with its faces followed from frame to frame
  detect-faces '**/*.png' --jsonl > faces.jsonl     a line of JSON for each image
  find . -name '*.jpg' -print0 | detect-faces --files-from - --null --csv > faces.csv
  curl -s example.org/a.jpg | detect-faces -        an image from standard input

exit codes: 0 all well, 1 some images failed (the others are done), 2 wrong usage, nothing done
"""
FORMATS = {
    "json": "one JSON array with an object for each image",
    "jsonl": "a line of JSON for each image as it is done",
    "csv": "a row for each face",
    "coco": "one COCO data set, with scores",
    "wider": "as WIDER FACE lists results: image, count, x y width height score",
}
MOST_PIXELS = 1 << 30  # that OpenCV decodes


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of a command line; ends the process with exit code 2 where they are wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.inputs and options.files_from is None:
        parser.error("give images, folders or videos, or --files-from FILE")
    if options.null and options.files_from is None:
        parser.error("--null belongs to --files-from")
    if (options.square or options.margin is not None) and not options.crop:
        parser.error("--margin and --square belong to --crop")
    if options.inputs.count("-") + (options.files_from == "-") > 1:
        parser.error("standard input can only be read once")
    options.format = next((name for name in FORMATS if getattr(options, name)), "text")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="detect-faces",
        usage="detect-faces [OPTIONS] INPUT ...",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    _add_inputs(parser)
    _add_detector(parser.add_argument_group("detector"))
    _add_selection(parser.add_argument_group("which faces"))
    _add_formats(parser.add_argument_group("what is printed"))
    _add_pictures(
        parser.add_argument_group(
            "what is written", "Inputs are not replaced unless --overwrite says so, and files appear whole."
        )
    )
    _add_video(parser.add_argument_group("videos and cameras"))
    _add_limits(parser.add_argument_group("limits for each image"))
    return parser


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="an image, a folder of them, a quoted pattern ('**/*.jpg'), a video, camera:0, or - for an image on "
        "standard input",
    )
    parser.add_argument("--files-from", metavar="FILE", help="more inputs, one a line; - for standard input")
    parser.add_argument("--null", action="store_true", help="... each ended by a zero byte (find -print0)")
    parser.add_argument(
        "--whole",
        action="store_true",
        help="leave large images to the resizing of the OD API's graphs; else they become smaller by means (where only "
        "boxes are asked for JPEGs are decoded at 1/2, 1/4 or 1/8 as long as twice the network's input is left)",
    )
    parser.add_argument("--allow-urls", action="store_true", help="fetch inputs that begin with http:// or https://")


def _add_detector(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model",
        metavar="MODEL",
        help="fast or accurate, which come along; haar, OpenCV's cascade; or an exported model: its folder or "
        "model.json [fast]",
    )
    group.add_argument("--backend", choices=("litert", "tensorflow"), default="litert", help="what runs it [litert]")
    group.add_argument(
        "--input-size", type=side, metavar="N", help="side of the network's input; larger: smaller faces"
    )
    group.add_argument("--tile", type=tile, metavar="N", help="look at large images in tiles of N pixels; or auto")
    group.add_argument("--threads", type=thread_count, metavar="N", help="of the network [the CPUs, at most 4]")


def _add_selection(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--min-score", type=score, metavar="S", help="leave out lower scores [as the model says]")
    group.add_argument("--min-size", type=pixels, metavar="N", help="leave out faces less than N pixels wide or high")
    group.add_argument("--max-faces", type=count, metavar="N", help="only the N best of each image")
    group.add_argument("--largest", action="store_true", help="only the largest face of each image")


def _add_formats(group: argparse._ArgumentGroup) -> None:
    forms = group.add_mutually_exclusive_group()
    for name, text in FORMATS.items():
        forms.add_argument(f"--{name}", action="store_true", help=text)
    group.add_argument("--output", metavar="FILE", help="to this file, whole or not at all, in place of stdout")


def _add_pictures(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--draw", metavar="OUT", help="the image with boxes; OUT is a folder for several images")
    hide = group.add_mutually_exclusive_group()
    hide.add_argument("--blur", metavar="OUT", help="the image, or video, with every face blurred")
    hide.add_argument("--pixelate", metavar="OUT", help="... in large squares")
    hide.add_argument("--fill", metavar="OUT", help="... painted over")
    group.add_argument("--crop", metavar="DIR", help="each face as a picture of its own: DIR/photo-1.jpg, ...")
    group.add_argument("--margin", type=margin, metavar="M", help="around a crop, as a part of the face's size [0.2]")
    group.add_argument("--square", action="store_true", help="crops are as wide as high")
    group.add_argument(
        "--metadata",
        choices=("no-gps", "keep", "strip"),
        default="no-gps",
        help="what written images keep: no-gps (the default): EXIF without place, thumbnail, maker's notes; keep: the "
        "place too; strip: nothing. The colour profile always stays",
    )
    group.add_argument("--overwrite", action="store_true", help="inputs may be replaced")


def _add_video(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--every", type=count, default=1, metavar="N", help="look at every Nth frame only [1]")
    group.add_argument("--no-tracking", action="store_true", help="boxes as they are detected in each frame by itself")
    group.add_argument("--max-frames", type=count, metavar="N", help="stop after N frames")


def _add_limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--max-pixels", type=pixels, default=MAX_PIXELS, metavar="N", help=f"[{MAX_PIXELS:,}]")
    group.add_argument("--max-bytes", type=count, default=MAX_BYTES, metavar="N", help=f"of the file [{MAX_BYTES:,}]")
    group.add_argument(
        "--max-seconds", type=seconds, default=MAX_SECONDS, metavar="S", help=f"to read and decode it [{MAX_SECONDS:g}]"
    )


class _Version(argparse.Action):
    """--version; what it prints is only looked up when it is asked for."""

    def __init__(self, option_strings, dest, **_):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="print the version")

    def __call__(self, parser, namespace, values, option_string=None):
        from detect_faces import __version__

        print(f"detect-faces {__version__}")
        parser.exit()


# Values on the command line; argparse names the function in its message.


def score(text: str) -> float:
    """A score in 0..1."""
    return _within(float(text), 0, 1)


def thread_count(text: str) -> int:
    """A number of threads."""
    return _within(int(text), 1, 64)


def count(text: str) -> int:
    """A number of things, 1 or more."""
    return _within(int(text), 1, 1 << 62)


def pixels(text: str) -> int:
    """A number of pixels."""
    return _within(int(text), 1, MOST_PIXELS)


def side(text: str) -> int:
    """The side of a network's input."""
    return _within(int(text), 16, 8192)


def tile(text: str) -> int | str:
    """The side of a tile, or `auto`."""
    return text if text == "auto" else _within(int(text), 64, MOST_PIXELS)


def margin(text: str) -> float:
    """A part of a face's size."""
    return _within(float(text), 0, 10)


def seconds(text: str) -> float:
    """A time."""
    return _within(float(text), 0.001, 86400)


def _within(value, low, high):
    if not low <= value <= high:  # not so of NaN either
        raise argparse.ArgumentTypeError(f"{value:g} is not in {low:g}..{high:g}")
    return value
