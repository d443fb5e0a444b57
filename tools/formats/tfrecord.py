"""TFRecord shards of tf.train.Example, keys as in tools.tf_example: what training and evaluation read.

Shards are `<output>/<name of output>-00000-of-00004.tfrecord`. Images are dealt to them in turn, so their numbers
differ by one at most, and each shard is a fair sample of a data set that comes sorted by subject.

Saving clips boxes to their image and drops those without area; images that TensorFlow would not decode as they look are
encoded anew. manifest.json beside the shards says where they come from, counts, and the SHA-256 of each.
"""

import hashlib
import json
import operator
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from detect_faces.errors import UserError
from tools import boxes, tf_example, tfrecord_file
from tools.annotations import AnnotatedImage
from tools.files import only_writer, write_whole
from tools.formats import ImageStream
from tools.images import ImageError, encode_for_record
from tools.report import Report
from tools.tf_example import ExampleError
from tools.tfrecord_file import MANIFEST, SHARD_NAME, UNFINISHED, RecordError

# A hundred or two of megabytes a shard: large enough to be read in long stretches, small enough that a shuffle over
# files mixes well.
IMAGES_PER_SHARD = 1000


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
    made_from: Mapping | None = None,
) -> None:
    """Writes a set of shards in place of the one that `output` holds, when it is complete.

    Args:
        label_map: {class name: id}.
        shards: how many; by default one for every thousand images.
        made_from: kept in the manifest.
    """
    output = Path(output)
    listed = operator.length_hint(images)
    if shards and listed and shards > listed:
        raise UserError(f"{shards} shards for {listed} images; give --shards {listed} or less")
    count = shards or max(1, -(-listed // IMAGES_PER_SHARD))
    prefix = output.resolve().name or "records"
    names = [SHARD_NAME.format(prefix=prefix, index=index, count=count) for index in range(count)]
    output.mkdir(parents=True, exist_ok=True)
    with only_writer(output):
        unfinished = output / UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            written = _write_shards(images, [unfinished / name for name in names], label_map, report)
            report.need_images(output)
            manifest = {
                "format": 1,
                "made_from": dict(made_from or {}),
                "label_map": dict(label_map),
                "counts": report.counts(),
                "shards": written,
            }
            write_whole(unfinished / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        _put_in_place(unfinished, output, prefix)


def _load(files: list[Path], classes: Mapping[str, str] | None, report: Report) -> Iterator[AnnotatedImage]:
    def bad(error: RecordError) -> None:
        report.problem(error.place, error.reason)

    seen = set()
    for file in files:
        for number, data in tfrecord_file.read_records(file, bad):
            place = f"{file}, record {number}"
            try:
                image = tf_example.decode(data)
            except ExampleError as error:
                report.problem(place, str(error))
                continue
            if image.name in seen:
                report.problem(place, f"{image.name} is there twice; this one is left out")
                continue
            seen.add(image.name)
            yield _wanted(image, classes, place, report)


def _wanted(image: AnnotatedImage, classes: Mapping[str, str] | None, place: str, report: Report) -> AnnotatedImage:
    """The image with those of its boxes that are boxes, of the classes asked for."""
    keep = []
    for i, (box, name) in enumerate(zip(image.xyxy.tolist(), image.classes, strict=True)):
        if classes is not None and name not in classes:
            report.dropped["of another class"] += 1
        elif reason := boxes.fault(*box):
            report.problem(place, f"{image.name}, box {i + 1}: {reason}; this box is left out")
        else:
            keep.append(i)
    return replace(
        image,
        xyxy=image.xyxy[keep],
        classes=tuple(image.classes[i] if classes is None else classes[image.classes[i]] for i in keep),
        flags={name: values[keep] for name, values in image.flags.items()},
    )


def _write_shards(
    images: Iterable[AnnotatedImage], paths: list[Path], label_map: Mapping[str, int], report: Report
) -> list[dict]:
    """Writes the shards and returns their lines of the manifest."""
    counts, hashes = [0] * len(paths), [hashlib.sha256() for _ in paths]
    for path in paths:
        path.touch()
    for image in images:
        if not (record := _record(image, label_map, report)):
            continue
        shard = report.images % len(paths)
        # Opened for each record: a thousand shards open at once is more than most systems allow.
        with open(paths[shard], "ab") as file:
            file.write(record)
        hashes[shard].update(record)
        counts[shard] += 1
        report.images += 1
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    return [
        {"file": path.name, "images": number, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}
        for path, number, digest in zip(paths, counts, hashes, strict=True)
    ]


def _record(image: AnnotatedImage, label_map: Mapping[str, int], report: Report) -> bytes | None:
    """The framed record of an image, or None for a bad one."""
    place = str(image.source) if isinstance(image.source, Path) else image.name
    if unknown := set(image.classes) - set(label_map):
        raise UserError(
            f"{image.name}: the label map has no class {min(unknown)!r} (it has {', '.join(label_map)}); "
            f"give --class {min(unknown)}={next(iter(label_map))} or another --label-map"
        )
    try:
        encoded = encode_for_record(image.source)
    except ImageError as error:
        report.problem(place, str(error))
        return None
    if (encoded.width, encoded.height) != (image.width, image.height):
        report.problem(
            place, f"is {encoded.width}x{encoded.height}, its annotation is for {image.width}x{image.height} pixels"
        )
        return None
    if encoded.changed:
        report.reencoded[encoded.changed] += 1
    clipped = boxes.clip_boxes(image, report)
    report.boxes += len(clipped)
    return tfrecord_file.frame(tf_example.encode(clipped, encoded, label_map))


def _put_in_place(unfinished: Path, output: Path, prefix: str) -> None:
    """Swaps the old set for the complete new one.

    The old set goes first: a kill in between leaves shards missing, which readers notice, and never a mixture of two
    sets, which they would not. The manifest stays behind until the end and tells find_files of such a kill.
    """
    (output / MANIFEST).unlink(missing_ok=True)
    old = re.compile(re.escape(prefix) + r"-\d{5}-of-\d{5}\.tfrecord")
    for path in [path for path in output.iterdir() if old.fullmatch(path.name)]:
        path.unlink()
    for path in sorted(unfinished.glob("*.tfrecord")):
        path.replace(output / path.name)
    (unfinished / MANIFEST).replace(output / MANIFEST)
    unfinished.rmdir()
