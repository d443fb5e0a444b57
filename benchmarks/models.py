"""python -m benchmarks.models IMAGES: milliseconds that the models that come along take for a decoded image.

Of the images in a folder, `--count` are taken, evenly by their names, and decoded. The models take turns, `--rounds`
times, each at all of its input sizes and with each number of threads: the median over images and rounds of the time
from the decoded image to the boxes, and how much of it the network took.
"""

import argparse
import time
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np

from detect_faces import Detector, read_image
from detect_faces.detector import SHIPPED
from detect_faces.errors import EXIT_OK, UserError, run_command

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
    images = [read_image(path) for path in paths[:: max(1, len(paths) // options.count)][: options.count]]

    timed = {}
    for model, threads in product(SHIPPED, options.threads):
        description = Detector(model).model
        for width, _ in sorted({(description.width, description.height), *description.other_sizes}):
            timed[model, width, threads] = Timed(Detector(model, threads=threads, input_size=width))
    for one in timed.values():  # the first image takes longer
        one.detect(images[0])
        one.total.clear(), one.network.clear()
    for _ in range(options.rounds):
        for one in timed.values():
            for image in images:
                one.detect(image)
    print("| model | input | threads | ms | of it the network |\n|---|---|---|---|---|")
    for (model, width, threads), one in timed.items():
        whole, part = median(one.total), median(one.network)
        print(f"| `{model}` | {width} | {threads} | {1000 * whole:.1f} | {part / whole:.0%} |")
    return EXIT_OK


class Timed:
    """A detector whose time is taken.

    Attributes:
        total: seconds of each image.
        network: those of them that the network took.
    """

    def __init__(self, detector: Detector):
        self._detector, self.total, self.network = detector, [], []
        network = detector._backend._network
        run = network._run

        def timed_run(**inputs):
            start = time.perf_counter()
            found = run(**inputs)
            self.network.append(time.perf_counter() - start)
            return found

        network._run = timed_run

    def detect(self, image: np.ndarray) -> None:
        start = time.perf_counter()
        self._detector.detect(image)
        self.total.append(time.perf_counter() - start)


if __name__ == "__main__":
    run_command(main)
