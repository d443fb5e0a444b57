"""TFRecord shards of tf.train.Example, keys as in tools.tf_example: what training and evaluation read.

Shards are `<output>/<name of output>-00000-of-00004.tfrecord`. Images are dealt to them in turn, so that each is a fair
sample of a data set that comes sorted by subject; their numbers differ by one, and by the images that turn out bad.

Saving clips boxes to their image and drops those without area; images that TensorFlow would not decode as they look are
encoded anew. The bytes depend on the images, their annotations and the options, never on the number of workers.
manifest.json beside the shards says where they come from, what was clipped, dropped and bad, and the SHA-256 of each.

A conversion that was cut short leaves its finished shards in `<output>/.converting`; the next one takes those, and
those of the set in place, that it would make the same. What `output` held before stays whole until the new set is
complete.
"""

import json
import math
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from detect_faces.errors import UserError
from detect_faces.whole_file import write_whole
from tools import boxes, shard_maker, tf_example, tfrecord_file
from tools.annotations import FLAGS, AnnotatedImage, FilePart
from tools.files import only_writer
from tools.formats import ImageStream
from tools.record_plan import Plan, remove_plan, write_plan
from tools.report import Report
from tools.shard_maker import Recipe, ShardTask
from tools.tf_example import ExampleError
from tools.tfrecord_file import MANIFEST, SHARD_NAME, UNFINISHED, RecordError

KEEPS = ("class", *FLAGS)

# A hundred or two of megabytes a shard: large enough to be read in long stretches, small enough that a shuffle over
# files mixes well. Smaller sets get some shards as well, so that several workers have something to do.
IMAGES_PER_SHARD = 1000
LEAST_IMAGES_PER_SHARD, FEW_SHARDS = 100, 8


def load(
    annotations: str | Path, images: str | Path | None, classes: Mapping[str, str] | None, report: Report
) -> ImageStream:
    """The images of a record file, a folder of shards, a glob or `prefix@N`; `images` is not used.

    Without `classes` every class keeps its name.
    """
    files = tfrecord_file.find_files(annotations)
    return ImageStream(sum(map(tfrecord_file.count_records, files)), _load(files, classes, report))


def save(
    images: Iterable[AnnotatedImage],
    output: str | Path,
    report: Report,
    *,
    label_map: Mapping[str, int],
    shards: int | None = None,
    workers: int = 1,
    max_side: int | None = None,
    made_from: Mapping | None = None,
) -> None:
    """Writes a set of shards in place of the one that `output` holds, when it is complete.

    Args:
        label_map: {class name: id}.
        shards: how many; by default one for every thousand images, and up to eight for fewer.
        workers: processes.
        max_side: pixels; images whose longer side has more are made smaller, with their boxes.
        made_from: kept in the manifest.
    """
    output = Path(output)
    prefix = output.resolve().name or "records"
    output.mkdir(parents=True, exist_ok=True)
    with only_writer(output):
        unfinished = output / UNFINISHED
        if (unfinished / MANIFEST).exists():  # complete, but cut short on its way to its place
            _put_in_place(unfinished, output)
        unfinished.mkdir(exist_ok=True)
        try:
            plan = _plan(images, unfinished, label_map, shards, report)
            entries = _make(plan, prefix, shards, Recipe(dict(label_map), max_side), output, workers, report)
        except OSError as error:
            raise UserError(
                f"{error.filename or output}: {error.strerror}; what {output} held before is whole, and the same "
                "command goes on from the shards that are finished"
            ) from error
        try:
            report.need_images(output)
        except UserError:
            shutil.rmtree(unfinished)
            raise
        manifest = {
            "format": 2,
            "made_from": dict(made_from or {}),
            "label_map": dict(label_map),
            "max_side": max_side,
            "counts": report.counts(),
            "shards": entries,
        }
        write_whole(unfinished / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        _put_in_place(unfinished, output)


def _plan(
    images: Iterable[AnnotatedImage], unfinished: Path, label_map: Mapping[str, int], shards: int | None, report: Report
) -> Plan:
    try:
        plan = write_plan(_of_known_classes(images, label_map), unfinished, report)
        if shards and shards > len(plan) > 0:
            raise UserError(f"{shards} shards for {len(plan)} images; give --shards {len(plan)} or less")
        return plan
    except UserError:
        remove_plan(unfinished)
        if not any(unfinished.iterdir()):
            unfinished.rmdir()
        raise


def _number_of_shards(images: int) -> int:
    return max(math.ceil(images / IMAGES_PER_SHARD), min(FEW_SHARDS, images // LEAST_IMAGES_PER_SHARD), 1)


def _of_known_classes(images: Iterable[AnnotatedImage], label_map: Mapping[str, int]) -> Iterator[AnnotatedImage]:
    for image in images:
        if unknown := set(image.classes) - set(label_map):
            pair = shlex.quote(f"{min(unknown)}={next(iter(label_map))}")
            raise UserError(
                f"{image.name}: the label map has no class {min(unknown)!r} (it has {', '.join(label_map)}); "
                f"give --class {pair} (CLASS= of make) or another --label-map"
            )
        yield image


def _make(
    plan: Plan, prefix: str, shards: int | None, recipe: Recipe, output: Path, workers: int, report: Report
) -> list[dict]:
    """Makes the shards that are not there yet and returns the manifest's entry of each."""
    unfinished, count = output / UNFINISHED, shards or _number_of_shards(len(plan))
    names = [SHARD_NAME.format(prefix=prefix, index=index, count=count) for index in range(count)]
    tasks = [ShardTask(plan.shard(i, count), unfinished / name, recipe) for i, name in enumerate(names)]
    keep = {path for task in tasks for path in (task.target, task.entry_path)}
    for path in unfinished.iterdir():
        if path not in keep and path.suffix != ".plan":
            path.unlink()
    entries = shard_maker.make_shards(tasks, _entries_in_place(output), workers, report)
    remove_plan(unfinished)
    for task in tasks:
        task.entry_path.unlink()
    return entries


def _entries_in_place(output: Path) -> dict[Path, dict]:
    """{shard: its entry} of the manifest in `output`; nothing where it cannot be used."""
    try:
        manifest = json.loads((output / MANIFEST).read_bytes())
        return {output / entry["file"]: entry for entry in manifest["shards"]} if manifest["format"] == 2 else {}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def _load(files: list[Path], classes: Mapping[str, str] | None, report: Report) -> Iterator[AnnotatedImage]:
    def bad(error: RecordError) -> None:
        report.problem(error.place, error.reason)

    seen = set()
    for file in files:
        for record in tfrecord_file.read_records(file, bad):
            place = f"{file}, record {record.number}"
            try:
                image = tf_example.decode(record.data)
            except ExampleError as error:
                report.problem(place, str(error))
                continue
            if image.name in seen:
                report.problem(place, f"{image.name} is there twice; this one is left out")
                continue
            seen.add(image.name)
            part = FilePart(file, record.offset + record.data.index(image.source), len(image.source))
            yield _wanted(replace(image, source=part), classes, place, report)


def _wanted(image: AnnotatedImage, classes: Mapping[str, str] | None, place: str, report: Report) -> AnnotatedImage:
    """The image with those of its boxes that are boxes, of the classes asked for."""
    keep = []
    for i, (box, name) in enumerate(zip(image.xyxy.tolist(), image.classes, strict=True)):
        if report.chosen(name, classes) is None:
            continue
        if reason := boxes.fault(*box):
            report.problem(place, f"{image.name}, box {i + 1}: {reason}; this box is left out")
        else:
            keep.append(i)
    return replace(
        image,
        xyxy=image.xyxy[keep],
        classes=tuple(image.classes[i] if classes is None else classes[image.classes[i]] for i in keep),
        flags={name: values[keep] for name, values in image.flags.items()},
    )


def _put_in_place(unfinished: Path, output: Path) -> None:
    """Swaps the old set for the complete new one.

    The old set goes first: a kill in between leaves shards missing, which readers notice, and never a mixture of two
    sets, which they would not. The manifest stays behind until the end and tells find_files of such a kill, and the
    next conversion that it can go on from here.
    """
    entries = json.loads((unfinished / MANIFEST).read_bytes())["shards"]
    prefix = entries[0]["file"].removesuffix(SHARD_NAME.format(prefix="", index=0, count=len(entries)))
    new = [entry["file"] for entry in entries]
    arrived = {name for name in new if not (unfinished / name).exists()}
    (output / MANIFEST).unlink(missing_ok=True)
    old = re.compile(re.escape(prefix) + r"-\d{5}-of-\d{5}\.tfrecord")
    for path in [path for path in output.iterdir() if old.fullmatch(path.name) and path.name not in arrived]:
        path.unlink()
    for name in new:
        if name not in arrived:
            (unfinished / name).replace(output / name)
    (unfinished / MANIFEST).replace(output / MANIFEST)
    shutil.rmtree(unfinished)
