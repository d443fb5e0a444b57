"""Check a pipeline config and print it as training would take it.

    python -m training.config ssdlite_mobilenet_v2_320_face
    python -m training.config mine.config --set train_config.batch_size=16 --set trainer.patience=3 > other.config

Changes of --set are made, the trainer's defaults written out; the result is a pipeline.config again. Errors and
warnings go to stderr with the line that they are about. Exit code 0: it can be trained with, warnings or not; 2: it
cannot.
"""

import argparse
import sys

from detect_faces.errors import EXIT_OK, EXIT_USAGE, run_command
from training.od_api import config_check, overrides, pipeline, trainer_settings


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    config = pipeline.load(options.pipeline, options.overrides)
    found = config_check.findings(config, options.pipeline, options.overrides)
    for finding in found:
        print(f"{finding.level}: {finding}", file=sys.stderr)
    if any(finding.level == "error" for finding in found):
        return EXIT_USAGE
    print(pipeline.text(trainer_settings.spelled_out(config)), end="")
    return EXIT_OK


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.config", description=__doc__.splitlines()[0])
    parser.add_argument("pipeline", help="a name in pipelines/ or the path of a pipeline.config")
    overrides.add_option(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
