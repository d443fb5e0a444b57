"""python -m evaluation.convert_detections --detections PATH --to FORMAT --output PATH --records PATH

Writes detections in another format, for the tools that want it:

    python -m evaluation.convert_detections --detections demo.jsonl --to coco --output demo.json --records ...
    python -m evaluation.convert_detections --detections demo.jsonl --to wider_face --output submission --records ...

PATH is a detections file (.jsonl), COCO results (.json) or a WIDER FACE submission (a folder). The images give the
names, sizes and ids that a format lacks, and have to be those of the detections.
"""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from detect_faces import UserError, detections_file
from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, run_command
from evaluation import coco_results, wider_submission
from evaluation.pairing import lines_for
from tools import data_set
from tools.report import Report

FORMATS = ("jsonl", "coco", "wider_face")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.convert_detections", description="Write detections in another format."
    )
    parser.add_argument("--detections", required=True, metavar="PATH", help="a .jsonl or .json file, or a folder")
    parser.add_argument("--to", choices=FORMATS, required=True)
    parser.add_argument("--output", required=True, type=Path, metavar="PATH", help="the file, or new folder, to write")
    data_set.add_options(parser)
    options = parser.parse_args(arguments)

    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    images = list(data_set.load(options, report))
    ids = image_ids(options)
    lines = lines_for(images, options.detections, ids)
    if options.to == "coco":
        coco_results.write(options.output, lines, ids)
    elif options.to == "wider_face":
        wider_submission.write(options.output, lines)
    elif options.output.is_dir():
        raise UserError(f"{options.output}: is a folder; give the name of a file")
    else:
        detections_file.write(options.output, lines)
    print(f"{options.output}: {len(lines)} images, {sum(len(line.faces) for line in lines)} faces", file=sys.stderr)
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


def image_ids(options: argparse.Namespace) -> coco_results.Ids | None:
    """The ids of the images of COCO annotations, given with the options of tools.data_set; None for other formats."""
    return coco_results.ids_in_annotations(options.annotations) if options.format == "coco" else None


if __name__ == "__main__":
    run_command(main)
