"""python -m benchmarks.records --format FORMAT --annotations FILE --images DIR: records a second, against the OD API.

The same images are made into records by `tools.convert` and by the OD API's own create_pascal_tf_record and
oid_tfrecord_creation, in turns, `--rounds` times; the best of each counts. Ours is the whole command, with the start
of its processes, every JPEG checked and every shard synced to disk; the OD API's is the loop alone, without the time
that TensorFlow takes to start, and it looks at nothing but the first bytes of an image. A third column copies the bytes
of the images into one file and syncs it: what reading and writing alone take.

Then ours alone on 1, 2, 4, ... times the images: time and memory as the number grows.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from detect_faces.errors import EXIT_OK, UserError, run_command
from tools import data_set
from tools.annotations import AnnotatedImage
from tools.formats import open_images, pascal_voc
from tools.report import Report

LABEL_MAP = 'item { id: 1 name: "face" }\nitem { id: 2 name: "/m/0dzct" }\n'
FACE = open_images.FACE

# Run in a process of its own: the OD API's loop, and the seconds that it took as its only output.
OD_API_PASCAL = """
import contextlib, sys, time
import training.od_api
import tensorflow.compat.v1 as tf
from object_detection.dataset_tools import create_pascal_tf_record as peer
root, output = sys.argv[1:]
peer.FLAGS(["peer", f"--data_dir={root}", "--year=VOC2012", "--set=train", f"--label_map_path={root}/label_map.pbtxt",
            f"--output_path={output}"])
start = time.perf_counter()
peer.main(None)
print(time.perf_counter() - start)
"""
# As create_oid_tf_record.main does it, which itself opens images as text and so fails on Python 3.
OD_API_OPEN_IMAGES = """
import sys, time
import training.od_api
import pandas
import tensorflow.compat.v1 as tf
from object_detection.dataset_tools import oid_tfrecord_creation as peer
root, output = sys.argv[1:]
start = time.perf_counter()
with tf.python_io.TFRecordWriter(output) as writer:
    for name, rows in pandas.read_csv(f"{root}/annotations-bbox.csv").groupby("ImageID"):
        with tf.gfile.Open(f"{root}/VOC2012/JPEGImages/{name}.jpg", "rb") as file:
            encoded = file.read()
        writer.write(peer.tf_example_from_annotations_data_frame(rows, {"/m/0dzct": 2}, encoded).SerializeToString())
print(time.perf_counter() - start)
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs the measurements and prints two Markdown tables."""
    options = _parse(arguments)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        images = [image for image in data_set.load(options, Report()) if _is_jpeg(image) and len(image)]
        if not images:
            raise UserError("no JPEG files with faces among these images")
        root = _layout(images, work / "data")
        megabytes = sum(image.source.stat().st_size for image in images) / 1e6
        print(f"{len(images)} images, {sum(map(len, images))} boxes, {megabytes:.0f} MB; workers: {options.workers}\n")
        _against_the_od_api(root, work, len(images), options)
        _growing(images, work, options)
    return EXIT_OK


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.records", description=__doc__.partition("\n\n")[2])
    data_set.add_options(parser)
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--times", type=int, nargs="*", default=[1, 2, 4, 8], metavar="N", help="multiples of the set")
    parser.add_argument("--work", metavar="DIR", help="where to put some times the data set [the system's]")
    return parser.parse_args(arguments)


def _is_jpeg(image: AnnotatedImage) -> bool:
    return isinstance(image.source, Path) and image.source.suffix == ".jpg"


def _layout(images: list[AnnotatedImage], root: Path) -> Path:
    """The images as Pascal VOC 2012 and as Open Images, under names image000000.jpg, ..."""
    voc = root / "VOC2012"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (voc / folder).mkdir(parents=True)
    (root / "label_map.pbtxt").write_text(LABEL_MAP)
    stems = [f"image{number:06}" for number in range(len(images))]
    (voc / "ImageSets/Main/aeroplane_train.txt").write_text("".join(f"{stem} 1\n" for stem in stems))
    with open(root / "annotations-bbox.csv", "w", newline="") as file:
        rows = csv.writer(file)
        sides = ["XMin", "XMax", "YMin", "YMax"]
        flags = ["IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside"]
        rows.writerow(["ImageID", "Source", "LabelName", "Confidence", *sides, *flags])
        for stem, image in zip(stems, images, strict=True):
            os.symlink(image.source.resolve(), voc / "JPEGImages" / f"{stem}.jpg")
            (voc / "Annotations" / f"{stem}.xml").write_text(_voc_xml(stem, image))
            for xmin, ymin, xmax, ymax in image.xyxy / ([image.width, image.height] * 2):
                rows.writerow([stem, "xclick", FACE, 1, xmin, xmax, ymin, ymax, 0, 0, 0, 0, 0])
    return root


def _voc_xml(stem: str, image: AnnotatedImage) -> str:
    objects = "".join(
        "<object><name>face</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult><bndbox>"
        f"<xmin>{xmin + 1}</xmin><ymin>{ymin + 1}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
        for xmin, ymin, xmax, ymax in image.xyxy.tolist()
    )
    return (
        f"<annotation><folder>VOC2012</folder><filename>{stem}.jpg</filename><size><width>{image.width}</width>"
        f"<height>{image.height}</height><depth>3</depth></size>{objects}</annotation>"
    )


def _against_the_od_api(root: Path, work: Path, images: int, options: argparse.Namespace) -> None:
    voc, csv_file = root / "VOC2012", root / "annotations-bbox.csv"
    pictures = ("--images", voc / "JPEGImages")
    ours = {
        "Pascal VOC": [
            "--from",
            pascal_voc.__name__.rpartition(".")[2],
            "--annotations",
            voc / "Annotations",
            *pictures,
        ],
        "Open Images": ["--from", open_images.__name__.rpartition(".")[2], "--annotations", csv_file, *pictures],
    }
    theirs = {"Pascal VOC": OD_API_PASCAL, "Open Images": OD_API_OPEN_IMAGES}
    best: dict[tuple[str, str], float] = {}
    for number in range(options.rounds):
        for name, command in ours.items():
            seconds = {
                "copy": _copy_seconds(voc / "JPEGImages", work / "copy"),
                "ours": _convert_seconds([*command, "--output", work / f"{name}-{number}"], options.workers)[0],
                "theirs": _peer_seconds(theirs[name], root, work / "peer.tfrecord"),
            }
            for who, value in seconds.items():
                best[name, who] = min(value, best.get((name, who), value))
    print("| from | images/s, tools.convert | images/s, OD API | ratio | images/s, copying | of it |")
    print("|---|---|---|---|---|---|")
    for name in ours:
        mine, peer, copy = (images / best[name, who] for who in ("ours", "theirs", "copy"))
        print(f"| {name} | {mine:,.0f} | {peer:,.0f} | {mine / peer:.1f} | {copy:,.0f} | {mine / copy:.0%} |")


def _convert_seconds(arguments: list, workers: int) -> tuple[float, float]:
    """Seconds of a whole conversion to records, and its peak memory in MB, of its largest process."""
    command = [
        sys.executable,
        "-m",
        "tools.convert",
        *map(str, arguments),
        "--to",
        "tfrecord",
        "--workers",
        str(workers),
    ]
    code = (
        "import resource, subprocess, sys\n"
        "code = subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL).returncode\n"
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    status, memory = done.stdout.split()
    if status != "0":
        raise UserError(f"tools.convert ended with {status}: these images have faults; mend them first")
    return seconds, float(memory)


def _peer_seconds(code: str, root: Path, output: Path) -> float:
    done = subprocess.run([sys.executable, "-c", code, str(root), str(output)], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"the OD API's tool failed: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout.split()[-1])


def _copy_seconds(folder: Path, target: Path) -> float:
    start = time.perf_counter()
    with open(target, "wb") as file:
        for path in sorted(folder.iterdir()):
            file.write(path.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - start


def _growing(images: list[AnnotatedImage], work: Path, options: argparse.Namespace) -> None:
    print("\n| images | seconds | images/s | peak MB of a process |")
    print("|---|---|---|---|")
    for times in options.times:
        folder = work / f"{times}"
        folder.mkdir()
        names = [f"{number:07}.jpg" for number in range(times * len(images))]
        with open(folder / "gt.txt", "w") as file:
            for number, name in enumerate(names):
                image = images[number % len(images)]
                os.symlink(image.source.resolve(), folder / name)
                faces = (f"{x} {y} {right - x} {low - y} 0 0 0 0 0 0\n" for x, y, right, low in image.xyxy.tolist())
                file.write(f"{name}\n{len(image)}\n{''.join(faces)}")
        command = ["--from", "wider_face", "--images", folder, "--annotations", folder / "gt.txt"]
        seconds, memory = _convert_seconds([*command, "--output", work / f"grown-{times}"], options.workers)
        print(f"| {len(names):,} | {seconds:.1f} | {len(names) / seconds:,.0f} | {memory:.0f} |")


if __name__ == "__main__":
    run_command(main)
