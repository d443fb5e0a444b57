"""python -m benchmarks.detect_faces PHOTO: what the command detect-faces takes, from start to end.

Start-up: the command on one photograph, against a ten-line script with OpenCV's face cascade, as whole processes and in
turns; the photograph is made smaller for the other rows. The script looks for faces from 20 pixels.

Parts: milliseconds of one image (of CPU time where the network has one thread), by its size, format and the network's
threads, as the median of several rounds, and which share of them goes into decoding, resizing (with the normalisation),
the network, and the rest: reading the file, the guards, suppression, and a line of JSON. One image after another here;
the command decodes beside the network, and the last column is what an image takes there, of a list of the same image.

Detectors: milliseconds of CPU time, of all threads together, for the same images, decoded, in turns with other
detectors that are installed, by the names of evaluation.detectors.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.timed import Clock, timed
from detect_faces import Detector, exported_model, network, reading, shrinking
from detect_faces.detections_file import ImageDetections
from detect_faces.errors import EXIT_OK, UserError, run_command
from detect_faces.guards import Limits
from detect_faces.images import read_image
from detect_faces.inputs import Source, image_name
from detect_faces.reading import Reading
from evaluation import detectors

CASCADE = """
import sys
import cv2
image = cv2.imread(sys.argv[1], cv2.IMREAD_GRAYSCALE)
cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
faces = cascade.detectMultiScale(image, scaleFactor=1.1, minNeighbors=3, minSize=(20, 20))
print(f"{sys.argv[1]}: {len(faces)} faces")
for x, y, width, height in faces:
    print(f"  from ({x}, {y}) to ({x + width}, {y + height})")
"""
FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp"}


def main(arguments: list[str] | None = None) -> int:
    """Runs the measurements and prints three Markdown tables."""
    options = _parse(arguments)
    photo = read_image(options.photo)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        files = {
            (side, form): _written(photo, side, work / f"{side}{suffix}")
            for side in options.sides
            for form, suffix in FORMATS.items()
        }
        _start_up(files, work, options)
        _parts(files, work, options)
        _detectors(files, options)
    return EXIT_OK


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detect_faces",
        description=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photo", type=Path, help="a photograph with faces, as large as the largest of --sides")
    parser.add_argument("--model", default="fast", metavar="MODEL", help="as detect-faces takes it [fast]")
    parser.add_argument("--sides", type=int, nargs="+", default=[640, 1280, 1920, 4000], metavar="N", help="in pixels")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="of the network")
    parser.add_argument("--rounds", type=int, default=10, metavar="N")
    against = ["cascade", "cascade=alt2"]
    parser.add_argument(
        "--against", nargs="*", default=against, metavar="NAME", help="as evaluation.detectors has them"
    )
    return parser.parse_args(arguments)


def _written(photo: np.ndarray, side: int, path: Path) -> Path:
    """The photograph with a longer side of so many pixels."""
    scale = side / max(photo.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    cv2.imwrite(str(path), cv2.resize(photo, None, fx=scale, fy=scale, interpolation=interpolation))
    return path


def _start_up(files: dict[tuple[int, str], Path], work: Path, options: argparse.Namespace) -> None:
    script = work / "cascade.py"
    script.write_text(CASCADE)
    command = Path(sys.executable).with_name("detect-faces")
    print("| longer side, px | detect-faces, ms | cascade script, ms | ratio |\n|---|---|---|---|")
    for side in options.sides:
        photo = files[side, "JPEG"]
        runs = {"ours": [command, photo, "--model", options.model], "cascade": [sys.executable, script, photo]}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(options.rounds + 1):
            for name, arguments in runs.items():
                seconds = _seconds_of_process(arguments)
                if number:  # the first round fills the page cache
                    times[name].append(1000 * seconds)
        ours, cascade = (statistics.median(times[name]) for name in ("ours", "cascade"))
        print(f"| {side} | {ours:.0f} | {cascade:.0f} | {ours / cascade:.2f} |", flush=True)


def _seconds_of_process(arguments: list) -> float:
    start = time.perf_counter()
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise UserError(f"{arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return seconds


def _parts(files: dict[tuple[int, str], Path], work: Path, options: argparse.Namespace) -> None:
    print("\n| longer side, px | format | threads | ms | decode | resize | network | rest | ms in a folder |")
    print("|---|---|---|---|---|---|---|---|---|")
    for threads in options.threads:
        # On a busy machine only CPU time means anything; with one thread it is that of this thread.
        clock = time.thread_time if threads == 1 else time.perf_counter
        detector = Detector(options.model, threads=threads)
        for (side, form), path in files.items():
            whole, shares = _parts_of_one(detector, path, options.rounds, clock)
            shares = " | ".join(f"{share:.0%}" for share in shares)
            beside = _ms_in_a_folder(path, work, threads, options)
            print(f"| {side} | {form} | {threads} | {whole:.1f} | {shares} | {beside:.1f} |", flush=True)


def _parts_of_one(detector: Detector, path: Path, rounds: int, clock: Clock) -> tuple[float, list[float]]:
    """The median in ms of everything, and the shares of decoding, resizing, the network, and the rest."""
    source = Source(str(path), image_name(path))
    look = Reading(Limits(), lambda: detector.enough_side)
    rows = []
    with (
        timed(reading, "decode", clock) as decode,
        timed(shrinking, "shrunk", clock) as shrink,
        timed(exported_model, "network_input", clock) as resize,
        timed(network.Network, "candidates", clock) as run,
    ):
        for number in range(rounds + 2):
            for spent in (decode, shrink, resize, run):
                spent.clear()
            start = clock()
            picture = look.prepare(source)[1]()
            faces = picture.in_its_pixels(detector.detect(picture.image))
            json.dumps(ImageDetections(source.name, picture.width, picture.height, faces, 0.0).to_json())
            whole = 1000 * (clock() - start)
            if number > 1:
                rows.append([whole, *(1000 * sum(spent) for spent in (decode, shrink + resize, run))])
    rows = np.array(rows)
    parts = rows[:, 1:].sum(axis=0) / rows[:, 0].sum()
    return float(np.median(rows[:, 0])), [*parts.tolist(), 1 - float(parts.sum())]


def _ms_in_a_folder(path: Path, work: Path, threads: int, options: argparse.Namespace) -> float:
    """Of the command on two lists of the same image, a long one and a short one: what an image more takes."""
    command = [Path(sys.executable).with_name("detect-faces"), "--model", options.model, "--threads", str(threads)]
    few, many = 2, 2 + 2 * options.rounds
    seconds = {}
    for count in (few, many):
        listed = work / "list.txt"
        listed.write_text(f"{path}\n" * count)
        runs = [_seconds_of_process([*command, "--files-from", listed, "--jsonl"]) for _ in range(3)]
        seconds[count] = min(runs)
    return 1000 * (seconds[many] - seconds[few]) / (many - few)


def _detectors(files: dict[tuple[int, str], Path], options: argparse.Namespace) -> None:
    detector = Detector(options.model, threads=1)
    loaded = {f"{options.model}": detector}
    for spec in options.against:
        try:
            other = detectors.load(*detectors.parse(spec), threads=1)
            loaded[other.name] = other
        except UserError as error:
            print(f"note: {spec} is left out: {error}", file=sys.stderr)
    print(f"\n| longer side, px | {' | '.join(loaded)} |")
    print("|---" * (1 + len(loaded)) + "|")
    for side in options.sides:
        image = read_image(files[side, "JPEG"])
        times: dict[str, list[float]] = {name: [] for name in loaded}
        for number in range(options.rounds + 1):
            for name, each in loaded.items():
                start = time.process_time()
                each.detect(image, each.min_score)
                if number:  # the first round also sets up memory
                    times[name].append(1000 * (time.process_time() - start))
        print(f"| {side} | {' | '.join(f'{statistics.median(times[name]):.0f}' for name in loaded)} |", flush=True)


if __name__ == "__main__":
    run_command(main)
