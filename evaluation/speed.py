"""python -m evaluation.speed --detector NAME[=MODEL] [NAME[=MODEL] ...] IMAGE

How long a detector takes to start, and how much memory it takes: each in fresh processes, in turns. For each detector
the process starts Python, loads the model and finds the faces of one image; the medians of the rounds are printed.

Start-up is from the start of the process to the first result, without decoding the image. Memory is the most that the
process had in RAM (VmHWM of Linux), Python, numpy and OpenCV included: where a detector is small, theirs is the most of
it. The size on disk is that of the detector's model files, not of the packages that run them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from detect_faces import UserError
from detect_faces.errors import EXIT_OK, run_command
from detect_faces.images import read_image
from evaluation import detectors

ROUNDS = 3
LONGEST = 300  # seconds of one process


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.speed", description="Start-up time and memory of detectors, in fresh processes."
    )
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("--detector", nargs="+", required=True, metavar="NAME[=MODEL]")
    parser.add_argument("--rounds", type=int, default=ROUNDS, choices=range(1, 101), metavar="N", help="[%(default)s]")
    parser.add_argument("--once-since", type=float, help=argparse.SUPPRESS)  # we are one of the fresh processes
    detectors.add_threads_option(parser)
    options = parser.parse_args(arguments)
    if options.once_since is not None:
        print(json.dumps(_once(options.detector[0], options.image, options.threads, options.once_since)))
        return EXIT_OK
    figures = start_up(options.detector, options.image, options.threads, options.rounds)
    for spec, row in zip(options.detector, figures, strict=True):
        print(json.dumps({"detector": spec} | row))
    return EXIT_OK


def start_up(specs: Sequence[str], image: Path, threads: int, rounds: int = ROUNDS) -> list[dict]:
    """For each detector {"start_ms", "peak_mib", "rounds"}, or {"error": one line} where it did not run.

    Args:
        specs: NAME=MODEL, as evaluation.detectors has them.
        image: an image file.
        threads: of the detectors.
        rounds: processes of each; the first ones also bring files into the page cache.
    """
    results = [[] for _ in specs]
    for _ in range(rounds):
        for spec, rows in zip(specs, results, strict=True):
            rows.append(_fresh(spec, image, threads))
    return [_median(rows) for rows in results]


def model_bytes(detector: detectors.Detector) -> int | None:
    """The size of the detector's model on disk, None where that cannot be told."""
    files = [file for path in detector.files for file in ([path] if path.is_file() else path.rglob("*"))]
    return sum(file.stat().st_size for file in files if file.is_file()) if files else None


def _fresh(spec: str, image: Path, threads: int) -> dict:
    command = [sys.executable, "-m", "evaluation.speed", str(image), "--detector", spec, "--threads", str(threads)]
    command += ["--once-since", repr(time.monotonic())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, env=_environment())
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        return {"error": lines[-1][:300]}
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {LONGEST} s"}
    except (ValueError, IndexError):
        return {"error": "gave no figures"}


def _environment() -> dict[str, str]:
    """With this project's rooms to be found from any folder."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def _once(spec: str, image: Path, threads: int, since: float) -> dict:
    """What a fresh process finds out of itself. The monotonic clock is the same in all processes of the machine."""
    before = time.monotonic()
    pixels = read_image(image)
    decoding = time.monotonic() - before
    detector = detectors.load(*detectors.parse(spec), threads)
    detector.detect(pixels, detector.min_score)
    return {"start_ms": 1000 * (time.monotonic() - since - decoding), "peak_mib": _peak_mib()}


def _peak_mib() -> float:
    # Not resource.getrusage: its ru_maxrss starts from that of the process that started this one.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise UserError("/proc/self/status: has no VmHWM; memory is measured on Linux")


def _median(rows: list[dict]) -> dict:
    errors = [row["error"] for row in rows if "error" in row]
    if errors:
        return {"error": errors[0]}
    return {
        "start_ms": statistics.median(row["start_ms"] for row in rows),
        "peak_mib": statistics.median(row["peak_mib"] for row in rows),
        "rounds": len(rows),
    }


if __name__ == "__main__":
    run_command(main)
