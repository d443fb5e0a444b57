"""Makes the shards of a set of records, several at a time, and none that is there already.

Each shard is written under a name of its own process, synced, given its final name, and then its entry for the manifest
is written beside it: a kill at any line leaves whole shards with entries, and remains that the next run throws away.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tqdm import tqdm

from detect_faces.errors import UserError
from detect_faces.whole_file import write_whole
from tools import boxes, processes, tf_example, tfrecord_file
from tools.annotations import AnnotatedImage
from tools.images import JPEG_QUALITY, ImageError, encode_for_record
from tools.record_plan import ShardPlan
from tools.report import Report

VERSION = 1  # to be raised when the same images and recipe give other bytes than before
FEW_IMAGES = 300  # done in this process: to start others takes longer


@dataclass(frozen=True)
class Recipe:
    """What the bytes of a shard depend on, beside its images."""

    label_map: Mapping[str, int]
    max_side: int | None = None
    jpeg_quality: int = JPEG_QUALITY
    version: int = VERSION


@dataclass(frozen=True)
class ShardTask:
    """A shard to make: of which images, where, how."""

    plan: ShardPlan
    target: Path
    recipe: Recipe

    @property
    def entry_path(self) -> Path:
        """The file of the shard's entry, until the manifest is written."""
        return self.target.with_suffix(".json")


def make_shards(tasks: list[ShardTask], in_place: Mapping[Path, dict], workers: int, report: Report) -> list[dict]:
    """Makes what is missing of `tasks` and returns the manifest's entries of all, in their order.

    An entry is {"file", "images", "bytes", "sha256", "made_of": digest of the images, annotations and recipe,
    "counts": of the report, "bad": lines of its problems}.

    Args:
        tasks: in the order of the shards.
        in_place: {shard: entry} of an older set, whose shards are used again where they are the same.
        workers: processes.
        report: takes the counts and the problems of all shards, those made before included.
    """
    digests = [task.plan.sha256(asdict(task.recipe)) for task in tasks]
    entries = [_made_before(task, digest, in_place) for task, digest in zip(tasks, digests, strict=True)]
    missing = [i for i, entry in enumerate(entries) if entry is None]
    images = sum(len(tasks[i].plan.offsets) for i in missing)
    for entry in filter(None, entries):
        _tell(entry, report)
    with tqdm(total=images, desc="writing", unit="image", disable=None) as progress:
        few = min(workers, len(missing)) <= 1 or images < FEW_IMAGES
        making = _one_by_one if few else _side_by_side
        for i, entry in making({i: (tasks[i], digests[i]) for i in missing}, workers, progress):
            entries[i] = entry
            _tell(entry, report)
    return entries


def make_record(image: AnnotatedImage, recipe: Recipe, report: Report) -> bytes | None:
    """The framed record of an image; None for a bad one, which goes to the report."""
    place = str(image.source) if isinstance(image.source, Path) else image.name
    try:
        encoded = encode_for_record(image.source, recipe.max_side)
    except ImageError as error:
        report.problem(place, str(error))
        return None
    if encoded.source_size != (image.width, image.height):
        width, height = encoded.source_size
        report.problem(place, f"is {width}x{height}, its annotation is for {image.width}x{image.height} pixels")
        return None
    if encoded.changed:
        report.reencoded[encoded.changed] += 1
    image = boxes.clip_boxes(image, report)
    if (encoded.width, encoded.height) != encoded.source_size:
        scale = [encoded.width / image.width, encoded.height / image.height]
        image = replace(image, width=encoded.width, height=encoded.height, xyxy=image.xyxy * (scale * 2))
    report.images += 1
    report.boxes += len(image)
    return tfrecord_file.frame(tf_example.encode(image, encoded, recipe.label_map))


def _made_before(task: ShardTask, digest: str, in_place: Mapping[Path, dict]) -> dict | None:
    """The entry of a shard that a conversion cut short, or the set in place, has already; None without one."""
    try:
        entry = json.loads(task.entry_path.read_bytes())
        if entry["made_of"] == digest and _is_whole(task.target, entry):
            return entry
    except (OSError, ValueError, LookupError, TypeError):
        pass
    for path, entry in in_place.items():
        if entry.get("made_of") == digest and _is_whole(path, entry):
            task.target.unlink(missing_ok=True)
            try:
                os.link(path, task.target)
            except OSError:  # a file system without hard links
                shutil.copyfile(path, task.target)
            entry = entry | {"file": task.target.name}
            _write_entry(task, entry)
            return entry
    return None


def _is_whole(path: Path, entry: dict) -> bool:
    if not path.is_file() or path.stat().st_size != entry["bytes"]:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"]


def _tell(entry: dict, report: Report) -> None:
    for line in entry["bad"]:
        report.problem_again(line)
    counts = entry["counts"]
    report.add(
        Report(
            images=counts["images"],
            boxes=counts["boxes"],
            clipped=counts["clipped"],
            dropped=Counter(counts["dropped"]),
            reencoded=Counter(counts["reencoded"]),
        )
    )


def _one_by_one(tasks: Mapping[int, tuple[ShardTask, str]], workers: int, progress: tqdm) -> Iterator:
    for i, (task, digest) in tasks.items():
        yield i, _make_shard(task, digest, progress.update)


def _side_by_side(tasks: Mapping[int, tuple[ShardTask, str]], workers: int, progress: tqdm) -> Iterator:
    """The shards as they are finished. Raises UserError if a worker is killed."""
    done = processes.CONTEXT.Value("Q", 0)
    try:
        with processes.workers(min(workers, len(tasks)), _count_in, done) as executor:
            running: dict[Future, int] = {executor.submit(_work, *task): i for i, task in tasks.items()}
            while running:
                finished, _ = wait(running, timeout=0.2, return_when="FIRST_COMPLETED")
                progress.update(done.value - progress.n)
                for future in finished:
                    yield running.pop(future), future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker was killed, maybe for want of memory; run the same command again, with fewer --workers: it goes "
            "on from the finished shards"
        ) from error


def _count_in(done) -> None:
    global _done
    _done = done


def _work(task: ShardTask, digest: str) -> dict:
    def tick(images: int) -> None:
        with _done.get_lock():
            _done.value += images

    return _make_shard(task, digest, tick)


def _make_shard(task: ShardTask, digest: str, tick) -> dict:
    """Writes a shard and its entry. `tick` is told of each image."""
    bad: list[str] = []
    report = Report(show=bad.append)
    part = task.target.with_name(f".{task.target.name}.{os.getpid()}.part")
    sha256 = hashlib.sha256()
    try:
        with open(part, "wb") as file:
            for image in task.plan.images():
                if record := make_record(image, task.recipe, report):
                    file.write(record)
                    sha256.update(record)
                tick(1)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        part.replace(task.target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename or str(task.target)) from error
    finally:
        part.unlink(missing_ok=True)
    entry = {
        "file": task.target.name,
        "images": report.images,
        "bytes": size,
        "sha256": sha256.hexdigest(),
        "made_of": digest,
        "counts": report.counts(),
        "bad": bad,
    }
    _write_entry(task, entry)
    return entry


def _write_entry(task: ShardTask, entry: dict) -> None:
    write_whole(task.entry_path, json.dumps(entry).encode())
