"""Reads an image file as an upright BGR array, with one clear line for whatever is not an image; writes one whole."""

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from detect_faces.alpha import read_alpha
from detect_faces.errors import UserError
from detect_faces.exif import cleaned, jpeg_orientation, orientation
from detect_faces.faces import Faces
from detect_faces.guards import Limits, checked_header, decoding_bytes, refuse_without_memory, too_large
from detect_faces.image_header import MAGIC_BYTES, SUFFIXES, Header, image_kind
from detect_faces.whole_file import write_whole

REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
EXIF, XMP, ICC = 0, 1, 2  # cv2.ImageMetadataType


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image.

    Attributes:
        image: (H, W, 3) uint8, BGR, upright; smaller than the picture where it was decoded reduced.
        width, height: pixels of the upright picture.
        metadata: of the file, where it was asked for: EXIF, XMP and ICC by their number.
        alpha: (H, W) uint8, where the picture is to be written and has an alpha channel.
    """

    image: np.ndarray
    width: int
    height: int
    metadata: dict[int, bytes] | None = None
    alpha: np.ndarray | None = None

    def in_its_pixels(self, faces: Faces) -> Faces:
        """Faces in pixels of `image`, in pixels of the picture."""
        height, width = self.image.shape[:2]
        if (width, height) == (self.width, self.height):
            return faces
        x, y = self.width / width, self.height / height
        return Faces(faces.xyxy * [x, y, x, y], faces.scores)


def read_image(path: str | Path) -> np.ndarray:
    """Reads a JPEG, PNG, WebP or BMP file, whatever its name ends in.

    Args:
        path: the image file.

    Returns:
        (height, width, 3) uint8, BGR, turned upright as EXIF says. Grey and CMYK become BGR, 16 bits become 8, alpha is
        dropped, of an animation the first frame is taken.

    Raises:
        UserError: there is no such file, or it is no image that can be decoded whole. The message starts with `path`.
    """
    return decode_image(read_bytes(path), str(path))


def decode_image(data: bytes, name: str = "image") -> np.ndarray:
    """As read_image, from the encoded bytes; `name` is what the error message calls them."""
    header = checked_header(data, name, Limits())
    refuse_without_memory(name, decoding_bytes(header, len(data)))
    return decode(data, name, header).image


def read_bytes(path: str | Path, limits: Limits | None = None) -> bytes:
    """The bytes of an image file; of any other only the first ones, as it may be of any size, or endless."""
    limits = limits or Limits()
    try:
        with open(path, "rb") as file:
            data = file.read(MAGIC_BYTES)
            size = os.fstat(file.fileno()).st_size  # 0 of a pipe
            if image_kind(data) and size <= limits.bytes:
                refuse_without_memory(str(path), size)
                if size:  # from the start again: to put two parts together takes twice the memory
                    file.seek(0)
                    data = file.read(size)
                else:
                    data += file.read(limits.bytes + 1 - len(data))
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno)}") from error
    if image_kind(data) and max(size, len(data)) > limits.bytes:
        raise UserError(f"{path}: {too_large(limits)}")
    return data


def decode(data: bytes, name: str, header: Header, reduced: int = 1, to_write: bool = False) -> Picture:
    """Decodes what checked_header has let through.

    Args:
        data: the encoded image.
        name: for the error message.
        header: of it.
        reduced: 1, 2, 4 or 8: decode a JPEG at a fraction of its size, which takes a fraction of time and memory.
        to_write: what a changed copy carries along is wanted as well: EXIF, XMP, the colour profile, alpha.

    Raises:
        UserError: it is damaged or cut off.
    """
    found = alpha = None
    # From memory and not by cv2.imread: imread fills the missing part of a truncated JPEG with grey and says nothing.
    encoded = np.frombuffer(data, np.uint8)
    try:
        if to_write and can_keep_metadata():
            image, kinds, chunks = cv2.imdecodeWithMetadata(encoded, flags=REDUCED[reduced])
            found = {int(kind): np.asarray(chunk).tobytes() for kind, chunk in zip(kinds, chunks, strict=True)}
        else:
            image = cv2.imdecode(encoded, REDUCED[reduced])
        if to_write and header.alpha and image is not None:
            alpha = read_alpha(encoded, orientation((found or {}).get(EXIF, b"").removeprefix(b"Exif\0\0")))
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise UserError(f"{name}: no memory left for {header.width} x {header.height} pixels") from error
        image = None
    if image is None:
        raise UserError(f"{name}: cannot be decoded: the {header.kind} image is damaged or cut off")
    height, width = image.shape[:2]
    if reduced > 1:
        width, height = header.width, header.height
        if jpeg_orientation(data) > 4:
            width, height = height, width
    return Picture(image, width, height, found, alpha)


def reduction(header: Header, side: int) -> int:
    """By how much a JPEG may be decoded reduced so that its longer side keeps at least `side` pixels: 1, 2, 4 or 8."""
    if header.kind != "JPEG":
        return 1
    return max(factor for factor in REDUCED if factor == 1 or max(header.width, header.height) >= side * factor)


def can_keep_metadata() -> bool:
    """Whether this OpenCV reads and writes metadata."""
    return hasattr(cv2, "imdecodeWithMetadata")


def metadata_to_write(found: dict[int, bytes], keep: str, anonymised: bool) -> dict[int, bytes]:
    """Of an image's metadata, what its changed copy carries.

    The colour profile always stays, as the pixels are in its colours; but not one of CMYK, as they are BGR now.

    Args:
        found: of the image.
        keep: 'keep', 'no-gps' or 'strip'.
        anonymised: the copy has to hide something that a preview would show.
    """
    written = {}
    profile = found.get(ICC, b"")
    if profile[16:20] == b"RGB ":
        written[ICC] = profile
    if keep != "strip" and EXIF in found:
        exif = cleaned(found[EXIF].removeprefix(b"Exif\0\0"), keep_place=keep == "keep")
        if exif:
            written[EXIF] = exif
    if keep == "keep" and XMP in found and not anonymised:  # XMP may hold previews
        written[XMP] = found[XMP]
    return written


def write_image(path: str | Path, image: np.ndarray, metadata: dict[int, bytes] | None = None) -> None:
    """Writes a BGR image in the format of the path's suffix, whole or not at all.

    Args:
        path: where to; folders are made.
        image: (H, W, 3) uint8, BGR; or (H, W, 4) with alpha, which PNG and WebP can hold.
        metadata: to write into a JPEG, PNG or WebP; a BMP has none.

    Raises:
        UserError: it cannot be written there, or not in this format, or there is no memory left for it.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: cannot write such a file; end the name in one of {', '.join(SUFFIXES)}")
    encoded_at_most = image.nbytes // (4 if path.suffix.lower() in (".jpg", ".jpeg") else 1)
    refuse_without_memory(str(path), encoded_at_most)
    try:
        if metadata and path.suffix.lower() != ".bmp":
            chunks = [np.frombuffer(chunk, np.uint8) for chunk in metadata.values()]
            done, encoded = cv2.imencodeWithMetadata(path.suffix, image, list(metadata), chunks)
        else:
            done, encoded = cv2.imencode(path.suffix, image)
    except cv2.error:
        done = False
    if not done:  # a side of a WebP has at most 16383 pixels, one of a JPEG 65500
        raise UserError(f"{path}: {image.shape[1]} x {image.shape[0]} pixels are too large for this format; take .png")
    try:
        write_whole(path, encoded)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
