"""python -m benchmarks.models IMAGES: milliseconds that the models that come along take for a decoded image.

Of the images in a folder, `--count` are taken, evenly by their names, and decoded. The models take turns, `--rounds`
times, each at all of its input sizes and with each number of threads: the median over images and rounds of the time
from the decoded image to the boxes, and how much of it the network took.
"""

import argparse
import time
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.timed import timed
from detect_faces import Detector, read_image
from detect_faces.detector import SHIPPED
from detect_faces.errors import EXIT_OK, UserError, run_command
from detect_faces.network import Network

SUFFIXES = (".jpg", ".jpeg", ".png")


def main(arguments: list[str] | None = None) -> int:
    """Runs the measurements and prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__.partition("\n\n")[2])
    parser.add_argument("images", type=Path, metavar="IMAGES", help="a folder, with those below it")
    parser.add_argument("--count", type=int, default=25, metavar="N", help="images [%(default)s]")
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1], metavar="N", help="[2 1]")
    parser.add_argument("--rounds", type=int, default=6, metavar="N", help="[%(default)s]")
    options = parser.parse_args(arguments)

    paths = sorted(path for path in options.images.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"{options.images}: no {', '.join(SUFFIXES)} in it")
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(options.count, len(paths))).round().astype(int))
    images = [read_image(paths[index]) for index in chosen]

    detectors = {}
    for model, threads in product(SHIPPED, options.threads):
        description = Detector(model).model
        for width, _ in sorted({(description.width, description.height), *description.other_sizes}):
            detectors[model, width, threads] = Detector(model, threads=threads, input_size=width)
    seconds = {key: [] for key in detectors}  # of each image: all, and the network
    with timed(Network, "candidates", time.perf_counter) as network:
        for _, (key, detector) in product(range(options.rounds), detectors.items()):
            detector.detect(images[0])  # the first one takes longer
            for image in images:
                network.clear()
                start = time.perf_counter()
                detector.detect(image)
                seconds[key].append((time.perf_counter() - start, sum(network)))
    print("| model | input | threads | ms | of it the network |\n|---|---|---|---|---|")
    for (model, width, threads), times in seconds.items():
        whole, part = np.median(times, axis=0)
        print(f"| `{model}` | {width} | {threads} | {1000 * whole:.1f} | {part / whole:.0%} |")
    return EXIT_OK


if __name__ == "__main__":
    run_command(main)
