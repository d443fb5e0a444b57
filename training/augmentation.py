"""The OD API's augmentation that we have without TensorFlow: its names and fields, and how much of it an image gets.

| name | fields | what it does to values of 0..255 |
|---|---|---|
| random_horizontal_flip | probability | mirrors the image and its boxes |
| random_adjust_brightness | max_delta | adds -max_delta..max_delta of 255 |
| random_adjust_contrast | min_delta, max_delta | the distance to each channel's mean, times a factor between them |
| random_adjust_saturation | min_delta, max_delta | the saturation of HSV, times a factor between them |
| random_adjust_hue | max_delta | turns the hue of HSV by -max_delta..max_delta of a circle |
| random_rgb_to_gray | probability | the luma of ITU-R BT.601 in all channels |

`training.image_colours` changes colours in OpenCV, one image at a time; for exported steps `training.colour` does it
where the network computes.
Source: object_detection/core/preprocessor.py.
"""

from collections.abc import Mapping

FLIP = "random_horizontal_flip"
COLOURS = (
    "random_adjust_brightness",
    "random_adjust_contrast",
    "random_adjust_saturation",
    "random_adjust_hue",
    "random_rgb_to_gray",
)


def described(option) -> dict:
    """A PreprocessingStep of a config as its name and fields."""
    name = option.WhichOneof("preprocessing_step")
    values = fields(getattr(option, name))
    return {"name": name} | ({"probability": values["probability"]} if name == FLIP else values)


def fields(message) -> dict:
    """The fields of a message that hold one value, defaults where they are not set."""
    return {f.name: getattr(message, f.name) for f in message.DESCRIPTOR.fields if not f.is_repeated}


def amount(change: Mapping, draw: float) -> float:
    """How much of a change an image gets, by a number drawn uniformly from 0..1; of a mere yes or no, 1 or 0."""
    name = change["name"]
    if "probability" in change:
        return float(draw < change["probability"])
    high = change["max_delta"]
    low = -high if name in ("random_adjust_brightness", "random_adjust_hue") else change["min_delta"]
    return low + draw * (high - low)
