"""The image files of Open Images, fetched by several threads into a folder: each is there whole or not at all.

A file that is there and decodes is not fetched again. The boxes of Open Images are those of the pixels as they lie in
the file, also where the photograph lies on its side: the column Rotation of the metadata says by how many degrees,
anticlockwise, image and boxes together would have to be turned to stand as their author meant (2.6 % of the images).
They are left as they are. Where a JPEG also carries an EXIF orientation, programs that apply it, as this project does,
would turn the image but not its boxes; so it is taken out of the file, without encoding the image anew. Source:
https://storage.googleapis.com/openimages/web/2018-05-17-rotation-information.html
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from detect_faces.errors import UserError
from detect_faces.whole_file import write_whole
from tools.download import FetchError, fetch
from tools.images import ImageError, encode_for_record
from tools.jpeg import plain_header
from tools.open_images.sources import address, local_folder

LARGEST = 1 << 26  # bytes of an image
GIVE_UP_AFTER = 100  # images, if there is not one good one among them

_APP1, _SCAN = 0xE1, 0xDA


@dataclass
class Fetched:
    """What became of images.

    Attributes:
        there: ImageIDs whose file is there, in no order.
        failed: {ImageID: why it is not}.
        counts: of images: "already there", "fetched", "without EXIF orientation" (it was taken out); and "bytes".
    """

    there: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)


def fetch_images(
    ids: Sequence[str], base: str, split: str, folder: Path, workers: int, show: Callable[[str], None]
) -> Fetched:
    """Brings the images `ids` into `folder`, as <ImageID>.jpg.

    Args:
        ids: ImageIDs.
        base: address that has <split>/<ImageID>.jpg below it, or a folder.
        split: "train", "validation" or "test".
        folder: where to put them.
        workers: how many to fetch at the same time.
        show: takes the line of each image that cannot be had.

    Raises:
        UserError: no server answers, the disk is full, or none of the first GIVE_UP_AFTER images can be had.
    """
    done, stop = Fetched(), threading.Event()
    failures = unreachable = 0  # one after the other
    pool = ThreadPoolExecutor(workers)
    try:
        with tqdm(total=len(ids), desc=f"{split} images", unit="image", disable=None) as progress:
            work = partial(_bring, base=base, split=split, folder=folder, pause=partial(_pause, stop))
            for image_id, result in _in_parallel(pool, ids, 4 * workers, work):
                progress.update()
                try:
                    done.counts.update(result())
                except FetchError as error:
                    place = _place(base, split, image_id)
                    failures, unreachable = failures + 1, unreachable + 1 if error.unreachable else 0
                    if unreachable >= workers or unreachable == len(ids):
                        raise UserError(
                            f"{place}: {error}; images that have arrived are kept; mend the connection and give the "
                            "same command again, or name a mirror or a folder with --base-url"
                        ) from error
                    if failures >= GIVE_UP_AFTER and not done.there:
                        raise UserError(
                            f"{place}: {error}; none of the first {failures} images can be had; is --base-url right?"
                        ) from error
                    done.failed[image_id] = str(error)
                    show(f"error: {place}: {error}; left out")
                except OSError as error:
                    raise UserError(
                        f"{folder / image_id}.jpg: {error.strerror}; images that have arrived are kept, the same "
                        "command goes on from there"
                    ) from error
                else:
                    done.there.add(image_id)
                    failures = unreachable = 0
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    return done


def _in_parallel(
    pool: ThreadPoolExecutor, ids: Iterable[str], ahead: int, work: Callable[[str], Counter]
) -> Iterable[tuple[str, Callable[[], Counter]]]:
    """(ImageID, function that gives the result of `work` or raises its error) as they are done."""
    pending: dict[Future, str] = {}
    for image_id in ids:
        pending[pool.submit(work, image_id)] = image_id
        while len(pending) >= ahead:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), future.result
    while pending:
        for future in wait(pending, return_when=FIRST_COMPLETED).done:
            yield pending.pop(future), future.result


def _pause(stop: threading.Event, seconds: float) -> None:
    """Waits, but not after the end has been called for."""
    if stop.wait(seconds):
        raise FetchError("given up")


def _bring(image_id: str, base: str, split: str, folder: Path, pause: Callable[[float], None]) -> Counter:
    """Brings one image; returns what to count. Raises FetchError or OSError."""
    path = folder / f"{image_id}.jpg"
    if path.is_file() and not _fault(path.read_bytes()):
        return Counter({"already there": 1})
    if source := local_folder(base):
        try:
            data = (source / split / path.name).read_bytes()
        except OSError as error:
            raise FetchError(error.strerror) from error
        if reason := _fault(data):
            raise FetchError(reason)
    else:
        data = fetch(_place(base, split, image_id), LARGEST, _fault, wait=pause)
    upright = without_orientation(data)
    write_whole(path, upright)
    return Counter({"fetched": 1, "bytes": len(upright), "without EXIF orientation": int(upright != data)})


def _place(base: str, split: str, image_id: str) -> str:
    if folder := local_folder(base):
        return str(folder / split / f"{image_id}.jpg")
    return address(base, f"{split}/{image_id}.jpg")


def _fault(data: bytes) -> str:
    """Why `data` is not a whole image, in a few words; empty for a good one."""
    try:
        encode_for_record(data)
    except ImageError as error:
        start = data[:20].lstrip()
        return f"not an image but a page ({start!r}...)" if start.startswith((b"<", b"{")) else str(error)
    return ""


def without_orientation(jpeg: bytes) -> bytes:
    """The JPEG without its EXIF and XMP if these ask to turn it; otherwise as it is. Its pixels stay as they are."""
    if plain_header(jpeg) or not jpeg.startswith(b"\xff\xd8") or encode_for_record(jpeg).changed != "EXIF orientation":
        return jpeg
    kept, at = [jpeg[:2]], 2
    while jpeg[at] == 0xFF and jpeg[at + 1] != _SCAN:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] != _APP1:
            kept.append(jpeg[at:end])
        at = end
    return b"".join([*kept, jpeg[at:]])
