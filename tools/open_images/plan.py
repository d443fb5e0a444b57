"""What a download of a part of Open Images would fetch, without fetching it."""

import argparse
from pathlib import Path

from detect_faces.errors import UserError
from tools import download
from tools.open_images import sources


def plan(options: argparse.Namespace) -> dict:
    """What a run with these options would fetch, at most.

    Returns:
        "output"; "files": [{"url", "bytes" (None: the server doesn't say), "there"}]; "images": how many, None for all;
        "image_bytes": about; "images_url".

    Raises:
        UserError: a file is not there, or no server answers.
    """
    split = sources.SPLITS[options.split]
    names = [sources.CLASSES, split.boxes, split.images, *([split.labels] if options.negatives != 0 else [])]
    images = None if None in (options.limit, options.negatives) else options.limit + options.negatives
    return {
        "output": str(options.output),
        "files": [_file(options.annotations_url, name, options.output) for name in names],
        "images": images,
        "image_bytes": None if images is None else images * sources.IMAGE_BYTES,
        "images_url": sources.address(options.base_url, options.split),
    }


def text(planned: dict) -> str:
    """The plan, a line for each file and one for the images."""
    lines = []
    for file in planned["files"]:
        size = "size unknown" if file["bytes"] is None else f"{file['bytes'] / 1e6:,.1f} MB"
        lines.append(f"{file['url']}: {'is there' if file['there'] else size}")
    about = "all images of the class"
    if planned["images"] is not None:
        about = f"up to {planned['images']:,} images, about {planned['image_bytes'] / 1e6:,.0f} MB"
    return "\n".join([*lines, f"{planned['images_url']}/...: {about}"])


def _file(base: str, name: str, output: Path) -> dict:
    path = sources.local_file(base, name) or output / "official" / Path(name).name
    if path.is_file():
        return {"url": str(path), "bytes": path.stat().st_size, "there": True}
    url = sources.address(base, name)
    try:
        return {"url": url, "bytes": download.size(url), "there": False}
    except download.FetchError as error:
        raise UserError(f"{url}: {error}; --annotations-url takes a mirror or a folder") from error
