"""The pictures that the command writes: drawn, anonymised, cut out; where they go, and that no input is replaced."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from detect_faces.alpha import with_alpha
from detect_faces.errors import UserError
from detect_faces.faces import Faces
from detect_faces.image_header import SUFFIXES
from detect_faces.images import Picture, metadata_to_write, write_image
from detect_faces.inputs import Source

# Of the videos that detect_faces.video writes.
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm")
_NUMBER, _FRAME = re.compile(r"-[1-9]\d{0,2}$"), re.compile(r"-\d{6,}-[1-9]\d*$")  # of crops


@dataclass(frozen=True)
class Change:
    """One kind of picture to write.

    Attributes:
        option: that asks for it, as --draw.
        out: what stands behind it: a file, or a folder.
        picture: from the image and its faces to what is written; None where each face is (--crop).
        crops: from the image and its faces to one picture each.
        anonymises: the faces are to be hidden.
    """

    option: str
    out: str
    picture: Callable[[np.ndarray, Faces], np.ndarray] | None = None
    crops: Callable[[np.ndarray, Faces], list[np.ndarray]] | None = None
    anonymises: bool = False


class Outputs:
    """Writes what is made of each source, where it belongs."""

    def __init__(self, changes: list[Change], sources: list[Source], one_file: bool, overwrite: bool, metadata: str):
        """Plans all of it before anything is written.

        Args:
            changes: to make of each image.
            sources: all of them, where there are changes.
            one_file: a single image was given by its name, so that `out` may be a file.
            overwrite: inputs may be replaced.
            metadata: 'keep', 'no-gps' or 'strip'.

        Raises:
            UserError: something would replace an input or another output, or has a name that is no image's.
        """
        self.changes = changes
        self._metadata = metadata
        self._overwrite = overwrite
        self._inputs = {os.path.realpath(source.name) for source in sources if source.kind == "file"} if changes else ()
        self._targets: dict[str, dict[Source, Path]] = {
            change.option: self._plan(change, sources, one_file) for change in changes
        }
        self._videos: dict[str, Source] = {}
        self._refuse_doubles()

    def target(self, change: Change, source: Source) -> Path:
        """The file that the changed picture of a source becomes; of crops the one before numbers are put in."""
        return self._targets[change.option][source]

    def video_target(self, change: Change, source: Source) -> Path:
        """The file that a changed video becomes. Raises UserError where that is an input, or another's."""
        target = self.target(change, source)
        if target != Path(change.out):  # in a folder, where clip.mov became clip.mov.jpg
            target = target.with_suffix("")
            target = target if target.suffix.lower() in VIDEO_SUFFIXES else target.with_suffix(VIDEO_SUFFIXES[0])
        self._refuse_input(change, target)
        other = self._videos.setdefault(os.path.realpath(target), source)
        if other != source:
            raise UserError(f"{change.option} {change.out}: {other} and {source} would both become {target}")
        return target

    def write(self, source: Source, picture: Picture, faces: Faces, frame: int | None = None) -> None:
        """Writes all changed pictures of an image; of a frame of a video only the crops.

        Raises:
            UserError: one cannot be written.
        """
        for change in self.changes:
            target = self.target(change, source)
            if change.crops:
                self._write_crops(change, target, picture, faces, frame)
            elif frame is None:
                metadata = metadata_to_write(picture.metadata or {}, self._metadata, change.anonymises)
                write_image(target, self._changed(change, target, picture, faces), metadata)

    @staticmethod
    def _changed(change: Change, target: Path, picture: Picture, faces: Faces) -> np.ndarray:
        changed, alpha = change.picture(picture.image, faces), picture.alpha
        if alpha is not None and not change.anonymises:  # what is drawn is to be seen where nothing was
            alpha = np.where((changed != picture.image).any(axis=2), np.uint8(255), alpha)
        return with_alpha(changed, alpha, target.suffix)

    def _write_crops(self, change: Change, target: Path, picture: Picture, faces: Faces, frame: int | None) -> None:
        metadata = metadata_to_write(picture.metadata or {}, self._metadata, anonymised=True)  # no previews of the rest
        image = with_alpha(picture.image, picture.alpha, target.suffix)
        for number, crop in enumerate(change.crops(image, faces), 1):
            place = f"-{number}" if frame is None else f"-{frame:06}-{number}"
            path = target.with_name(target.stem + place + target.suffix)
            self._refuse_input(change, path)
            write_image(path, crop, metadata)

    def _plan(self, change: Change, sources: list[Source], one_file: bool) -> dict[Source, Path]:
        out = Path(change.out)
        if change.crops:
            if out.exists() and not out.is_dir():
                raise UserError(f"{change.option} {change.out}: has to be a folder, and this is a file")
        elif one_file and not out.is_dir() and not change.out.endswith(os.sep):
            if out.suffix.lower() not in SUFFIXES + VIDEO_SUFFIXES:
                known = f"{', '.join(SUFFIXES)}, or a folder's in {os.sep}"
                raise UserError(f"{change.option} {change.out}: end the name in one of {known}")
            self._refuse_input(change, out)
            return {sources[0]: out}
        elif out.exists() and not out.is_dir():
            raise UserError(
                f"{change.option} {change.out}: has to be a folder when there are several images, and this is a file"
            )
        targets = {source: out / source.inside for source in sources}
        if not change.crops:
            for target in targets.values():
                self._refuse_input(change, target)
        return targets

    def _refuse_input(self, change: Change, target: PurePath) -> None:
        if not self._overwrite and os.path.realpath(target) in self._inputs:
            raise UserError(
                f"{change.option} {change.out}: would overwrite the input {target}; give another name, or --overwrite"
            )

    def _refuse_doubles(self) -> None:
        pictures = {
            os.path.realpath(target): change.option
            for change in self.changes
            if not change.crops
            for target in self._targets[change.option].values()
        }
        for change in self.changes:
            if change.crops:
                self._refuse_crops_named_as(pictures, change)
        made_of: dict[tuple[bool, str], tuple[str, Source]] = {}
        for change in self.changes:
            for source, target in self._targets[change.option].items():
                key = (change.crops is None, os.path.realpath(target))  # crops have numbers in their names
                option, other = made_of.setdefault(key, (change.option, source))
                if other != source:
                    raise UserError(
                        f"{change.option} {change.out}: {other} and {source} would both become {target}; "
                        "give their folder instead"
                    )
                if option != change.option:
                    raise UserError(f"{option} and {change.option} would both write {target}; give two folders")

    def _refuse_crops_named_as(self, pictures: dict[str, str], change: Change) -> None:
        """Crops of a.jpg become a-1.jpg, of a video's frames a-000001-1.jpg; `pictures` {path: option} may be those."""
        cropped = {os.path.realpath(target) for target in self._targets[change.option].values()}
        for path, option in pictures.items():
            root, suffix = os.path.splitext(path)
            if {number.sub("", root) + suffix for number in (_NUMBER, _FRAME) if number.search(root)} & cropped:
                raise UserError(
                    f"{option} and {change.option}: {path} could be both a picture and a crop; give two folders"
                )
