"""Contact sheets: thumbnails with their boxes drawn in, and a picture of many of them."""

import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tools import images
from tools.annotations import AnnotatedImage, Source

GREEN, RED, GREY = (60, 220, 80), (255, 50, 50), (170, 170, 170)
INK, PAPER = (30, 30, 30), (255, 255, 255)
TEXT_HEIGHT = 12  # pixels
LINE_HEIGHT = 15
CAPTION_LINES = 3
GAP = 8

_DASH = 3  # pixels of line, and as many of gap


def thumbnail(source: Source, side: int, mode: str = "RGB") -> Image.Image:
    """The upright image with its longer side made `side` pixels at most.

    A JPEG is decoded at a half, a quarter or an eighth where that is enough. Raises ImageError, also for an image that
    is cut off.

    Args:
        source: the image.
        side: pixels.
        mode: "RGB" or "L" (grey).
    """
    with images.opened(source) as image:
        orientation = images.orientation_of(image)
        size = _within(image.size, side)
        image.draft(mode, (2 * size[0], 2 * size[1]))
        image.load()
        if image.mode.startswith("I"):  # 16-bit grey
            image = Image.fromarray((np.asarray(image, np.uint32) >> 8).astype(np.uint8))
        image = image.convert(mode).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        return image.transpose(images.TO_UPRIGHT[orientation]) if orientation != 1 else image


def exif_orientation(source: Source) -> int:
    """The EXIF orientation, 1 to 8; 1 is upright. Raises ImageError."""
    with images.opened(source) as image:
        return images.orientation_of(image)


def with_boxes(picture: Image.Image, image: AnnotatedImage, marked: Iterable[int] = ()) -> Image.Image:
    """A copy of a thumbnail with the image's boxes: lines of one pixel, so that a crowd can still be told apart.

    Faces are green, the `marked` ones red, boxes to ignore dashed and grey. A box gets its number, from 1, where the
    number does not hide more than the box.

    Args:
        picture: of any size.
        image: its boxes are scaled to the picture.
        marked: positions of boxes.
    """
    picture = picture.convert("RGB")
    draw, font, marked = ImageDraw.Draw(picture), _font(), set(marked)
    scale = np.array([picture.width / image.width, picture.height / image.height] * 2)
    # Pillow draws the last pixel of a rectangle too. What lies outside is drawn on the edge.
    high = np.array([picture.width, picture.height] * 2) - 1
    boxes = np.clip(np.rint(image.xyxy * scale), 0, high).astype(int).tolist()
    order = sorted(range(len(boxes)), key=lambda box: (box in marked, -box))  # what is red lies on top
    for box in order:
        if image.ignore[box] and box not in marked:
            _dashed(draw, boxes[box], GREY)
        else:
            draw.rectangle(boxes[box], outline=RED if box in marked else GREEN)
    for box in order:
        colour = RED if box in marked else GREY if image.ignore[box] else GREEN
        _number(draw, boxes[box], str(box + 1), colour, font)
    return picture


def sheet(tiles: Sequence[tuple[Image.Image, Sequence[str]]], side: int, columns: int) -> Image.Image:
    """One picture of all tiles, row by row.

    Args:
        tiles: pictures of at most `side` x `side` pixels and, for each, the lines under it; the first CAPTION_LINES are
            shown.
        side: pixels.
        columns: tiles in a row.
    """
    rows = [tiles[at : at + columns] for at in range(0, len(tiles), columns)]
    heights = [max(picture.height for picture, _ in row) for row in rows]  # of the pictures in each row
    whole = Image.new("RGB", sheet_size(heights, side, columns), PAPER)
    draw, font, top = ImageDraw.Draw(whole), _font(), GAP
    for row, height in zip(rows, heights, strict=True):
        for column, (picture, lines) in enumerate(row):
            left = GAP + column * (side + GAP)
            whole.paste(picture, (left + (side - picture.width) // 2, top + height - picture.height))
            for i, text in enumerate(lines[:CAPTION_LINES]):
                place = (left, top + height + 2 + i * LINE_HEIGHT)
                draw.text(place, shortened(text, side, font), INK, font)
        top += height + CAPTION_LINES * LINE_HEIGHT + GAP
    return whole


def sheet_size(heights: Sequence[int], side: int, columns: int) -> tuple[int, int]:
    """(width, height) in pixels of a sheet whose rows have pictures of these heights."""
    height = sum(heights) + len(heights) * (CAPTION_LINES * LINE_HEIGHT + GAP) + GAP
    return columns * (side + GAP) + GAP, height


def placeholder(text: str, side: int) -> Image.Image:
    """The tile of an image that cannot be shown."""
    picture = Image.new("RGB", (side, side // 3), (225, 225, 225))
    ImageDraw.Draw(picture).text((6, 6), shortened(text, side - 12), INK, _font())
    return picture


def shortened(text: str, width: int, font: ImageFont.FreeTypeFont | None = None) -> str:
    """The text, with its middle left out where it is wider than `width` pixels."""
    font = font or _font()
    text = text.encode("utf-8", "backslashreplace").decode()  # file names need not be UTF-8
    text = "".join(character if character.isprintable() else "?" for character in text)
    if font.getlength(text) <= width:
        return text
    kept = len(text)
    while kept > 2 and font.getlength(short := f"{text[: kept // 2]}…{text[-(kept - kept // 2) :]}") > width:
        kept = min(kept - 1, int(kept * width / font.getlength(short)) + 1)
    return short


def encoded(picture: Image.Image, form: str = "JPEG", quality: int = 85) -> bytes:
    """The picture as a file: "JPEG" or "PNG"."""
    out = io.BytesIO()
    picture.save(out, form, **({"quality": quality} if form == "JPEG" else {}))
    return out.getvalue()


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(TEXT_HEIGHT)


def _within(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size with its longer side `side` at most."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _dashed(draw: ImageDraw.ImageDraw, box: list[int], colour: tuple[int, int, int]) -> None:
    x_min, y_min, x_max, y_max = box
    for x in range(x_min, x_max + 1, 2 * _DASH):
        end = min(x + _DASH - 1, x_max)
        draw.line([(x, y_min), (end, y_min)], colour)
        draw.line([(x, y_max), (end, y_max)], colour)
    for y in range(y_min, y_max + 1, 2 * _DASH):
        end = min(y + _DASH - 1, y_max)
        draw.line([(x_min, y), (x_min, end)], colour)
        draw.line([(x_max, y), (x_max, end)], colour)


def _number(
    draw: ImageDraw.ImageDraw, box: list[int], text: str, colour: tuple[int, int, int], font: ImageFont.FreeTypeFont
) -> None:
    x_min, y_min, x_max, y_max = box
    width, height = math.ceil(font.getlength(text)) + 3, TEXT_HEIGHT
    if width > 0.4 * (x_max - x_min) or height > 0.4 * (y_max - y_min):
        return
    draw.rectangle([x_min, y_min, x_min + width, y_min + height], colour)
    draw.text((x_min + 2, y_min - 1), text, INK, font)
