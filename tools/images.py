"""Image files: upright size from the header, and the bytes to put into a record.

Types go by content, not by name. The orientation that EXIF asks for is applied everywhere: sizes and boxes are those of
the upright image.
"""

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from detect_faces.errors import UserError
from detect_faces.whole_file import write_whole
from tools import jpeg
from tools.annotations import AnnotatedImage, FilePart, Source

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
JPEG_QUALITY = 95  # of images that have to be encoded anew

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_PIXEL_LIMIT = 2 * Image.MAX_IMAGE_PIXELS  # from here on Pillow refuses an image as a decompression bomb
_ORIENTATION = 0x0112  # EXIF tag
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_HEADER = 4096  # bytes that hold the header of most JPEGs
_JPEG_TAIL = 1 << 20  # cameras append previews and padding behind the end marker
TO_UPRIGHT = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns at half its limit; up to the limit an image is welcome here.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class ImageError(Exception):
    """What is wrong with an image, in a few words without its name."""


@dataclass(frozen=True)
class EncodedImage:
    """An upright 8-bit RGB or grey image as TensorFlow's decode_image takes it.

    Attributes:
        data: the encoded image.
        format: "jpeg" or "png".
        width, height: pixels.
        source_size: (width, height) of the upright source, before it was made smaller.
        changed: why the bytes are not those of the source; empty when they are.
    """

    data: bytes
    format: str
    width: int
    height: int
    source_size: tuple[int, int]
    changed: str = ""


def upright_size(source: Source) -> tuple[int, int]:
    """(width, height) from the header, nothing decoded. Raises ImageError."""
    if isinstance(source, Path) and (size := _plain_size(source)):
        return size
    with opened(source) as image:
        return _upright(image.size, orientation_of(image))


def upright_boxes(source: Path | bytes, annotated: tuple[int, int], xyxy: np.ndarray) -> tuple[int, int, np.ndarray]:
    """The upright size of an image, and in it the boxes that were drawn on an image of `annotated` pixels.

    Some tools pass over the EXIF orientation and annotate the picture as it is stored. Where it lies on its side the
    stated size shows this, and the boxes are turned with it; otherwise they are taken for those of the upright image.

    Args:
        source: the image.
        annotated: (width, height) as the annotations state them; a 0 in it means that they don't.
        xyxy: (N, 4), pixels of the annotated image.

    Returns:
        width, height, and (N, 4) float64 `xyxy`.

    Raises:
        ImageError: the image cannot be read, or is of another size than annotated.
    """
    if isinstance(source, Path) and (stored := _plain_size(source)):
        orientation = 1
    else:
        with opened(source) as image:
            stored, orientation = image.size, orientation_of(image)
    xyxy, size = np.array(xyxy, np.float64).reshape(-1, 4), _upright(stored, orientation)
    if 0 in annotated or annotated == size:
        return *size, xyxy
    if annotated != stored:
        raise ImageError(
            f"is {size[0]}x{size[1]} pixels, its annotation is for {annotated[0]}x{annotated[1]}: another image of "
            "this name, or it was resized"
        )
    return *size, _turned(xyxy, stored, orientation)


def encode_for_record(source: Source, max_side: int | None = None) -> EncodedImage:
    """The image as a record holds it: its own bytes where nothing has to change, otherwise JPEG of quality 95.

    An image whose longer side has more than `max_side` pixels is made smaller. Alpha is dropped, not composed, as
    TensorFlow and OpenCV do when asked for three channels. Raises ImageError, also for an image whose header is good
    but whose data are truncated.
    """
    data = source if isinstance(source, bytes) else _read(source)
    if whole := _plain_whole(data, max_side):
        return whole
    with opened(data) as image:
        orientation, size = orientation_of(image), image.size
        if image.format == "PNG":
            _check_png(data)
        if reason := _must_change(image, data, orientation, max_side):
            return _reencoded(image, orientation, max_side, reason)
        if image.format == "PNG":
            image.load()
        else:
            # An eighth of the size in grey takes the whole of the entropy-coded data and little of the other work.
            image.draft("L", (1, 1))
            if b"\xff\xd9" not in data[-_JPEG_TAIL:]:
                raise ImageError("truncated: the JPEG has no end marker")
            image.load()
        return EncodedImage(data, "png" if image.format == "PNG" else "jpeg", *size, source_size=size)


def path_inside(folder: Path, name: str) -> Path:
    """The path of the image `name` (relative, forward slashes) in `folder`. Raises ImageError if it leads elsewhere."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name or "\\" in name:
        raise ImageError(f"{name!r} is not a path inside the folder of images")
    return folder.joinpath(*parts)


def image_folder(path: str | Path | None) -> Path:
    """The folder of a data set's images. Raises UserError where there is none."""
    if path is None:
        raise UserError("this format needs the folder of its images: give --images")
    if not Path(path).is_dir():
        raise UserError(f"{path}: no such folder of images")
    return Path(path)


def put_image(image: AnnotatedImage, folder: Path) -> str:
    """The image's name as a file; an image that is not a file yet is written to `folder`. Raises ImageError."""
    if isinstance(image.source, Path):
        return image.name
    data = image.encoded()
    name = image.name if image.name.lower().endswith(SUFFIXES) else image.name + _suffix(data)
    write_whole(path_inside(folder, name), data)
    return name


def _suffix(data: bytes) -> str:
    with opened(data) as image:
        return {"PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}.get(image.format, ".jpg")


def _read(source: Path | FilePart) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise ImageError(error.strerror) from error


@contextmanager
def opened(source: Source) -> Iterator[Image.Image]:
    """The image, its pixels not decoded yet. Raises ImageError, also for what goes wrong in the block."""
    if isinstance(source, Path) and not os.path.isfile(source):  # no OSError for a name that is too long
        raise ImageError("no such file")
    try:
        data = source.read_bytes() if isinstance(source, FilePart) else source
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=_FORMATS) as image:
            yield image
    except Image.UnidentifiedImageError as error:
        raise ImageError("not a JPEG, PNG, WebP or BMP image") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"more than {_PIXEL_LIMIT:,} pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        # What Pillow's readers raise on damaged files.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"cannot be decoded ({reason})") from error


def _plain_size(path: Path) -> tuple[int, int] | None:
    """(width, height) of a plain JPEG; None for everything else. Pillow would take three times as long."""
    try:
        with open(path, "rb") as file:
            header = jpeg.plain_header(file.read(_HEADER))
    except (OSError, ValueError):  # a name that is too long, or no name at all
        return None
    if header and header.width * header.height <= _PIXEL_LIMIT:
        return header.width, header.height
    return None


def _plain_whole(data: bytes, max_side: int | None) -> EncodedImage | None:
    """A plain whole JPEG that stays as it is; None for everything else."""
    header = jpeg.plain_header(data)
    if not header or (max_side and max(header.width, header.height) > max_side):
        return None
    if header.width * header.height > _PIXEL_LIMIT or not jpeg.is_whole(data, header):
        return None
    return EncodedImage(data, "jpeg", header.width, header.height, source_size=(header.width, header.height))


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or none that can be read."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # getexif would decode the whole image to look behind the pixels
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, struct.error):
        return 1  # damaged EXIF: the pixels may be fine
    return value if value in TO_UPRIGHT else 1


def _upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if orientation >= 5 else size


def _turned(xyxy: np.ndarray, stored: tuple[int, int], orientation: int) -> np.ndarray:
    """Boxes of the image as stored, in the upright one that lies across it: EXIF orientation 5 to 8."""
    xmin, ymin, xmax, ymax = xyxy.T
    if orientation in (7, 8):
        xmin, xmax = stored[0] - xmax, stored[0] - xmin
    if orientation in (6, 7):
        ymin, ymax = stored[1] - ymax, stored[1] - ymin
    return np.stack([ymin, xmin, ymax, xmax], axis=1)


def _must_change(image: Image.Image, data: bytes, orientation: int, max_side: int | None) -> str:
    """Why the bytes cannot go into a record as they are, or an empty string."""
    if max_side and max(image.size) > max_side:
        return f"larger than {max_side} pixels"
    if orientation != 1:
        return "EXIF orientation"
    if image.format in ("JPEG", "MPO"):
        return "" if image.mode in ("L", "RGB") else f"{image.mode} JPEG"
    if image.format != "PNG":
        return image.format
    if data[24] > 8:  # bit depth in IHDR; Pillow calls both 8 and 16 bits RGB
        return "16-bit PNG"
    if getattr(image, "is_animated", False):
        return "animated PNG"
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return ""
    return {"P": "palette PNG", "1": "1-bit PNG"}.get(image.mode, "PNG with alpha")


def _check_png(data: bytes) -> None:
    if _PNG_END not in data:
        raise ImageError("truncated: the PNG has no end chunk")
    # Pillow's load does not look at the checksums of the pixel data, libpng does.
    with opened(data) as image:
        image.verify()


def _reencoded(image: Image.Image, orientation: int, max_side: int | None, reason: str) -> EncodedImage:
    source_size = _upright(image.size, orientation)
    if max_side:  # JPEG only: decode at a half, quarter or eighth, never below twice the size that is wanted
        image.draft(None, (2 * max_side, 2 * max_side))
    image.load()
    if image.mode.startswith("I"):  # 16-bit grey
        image = Image.fromarray((np.asarray(image, np.uint32) >> 8).astype(np.uint8))
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    if orientation != 1:
        image = image.transpose(TO_UPRIGHT[orientation])
    if max_side and (scale := max_side / max(source_size)) < 1:
        size = tuple(max(1, round(side * scale)) for side in source_size)
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    out = io.BytesIO()
    # Only the pixels: an EXIF block that is passed on would turn them a second time.
    Image.fromarray(np.asarray(image)).save(out, "JPEG", quality=JPEG_QUALITY)
    return EncodedImage(out.getvalue(), "jpeg", *image.size, source_size=source_size, changed=reason)
