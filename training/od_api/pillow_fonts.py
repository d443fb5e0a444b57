"""Shim: ImageFont.getsize, which Pillow 10 removed.

Why: the OD API measures its labels with it when it draws boxes for TensorBoard; without it an evaluation crashes.
Can go when: the OD API's visualization_utils uses getbbox.
"""


def install() -> None:
    from PIL import ImageFont

    def getsize(font, text, *args, **kwargs):
        """(width, height) of the text in pixels."""
        return font.getbbox(text, *args, **kwargs)[2:]

    for font_class in (ImageFont.FreeTypeFont, ImageFont.ImageFont, ImageFont.TransposedFont):
        if not hasattr(font_class, "getsize"):
            font_class.getsize = getsize
