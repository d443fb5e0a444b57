"""The OD API's augmentation that exported steps have: its names and fields, and how much of it an image gets.

| name | fields | what it does to values of 0..255 |
|---|---|---|
| random_horizontal_flip | probability | mirrors the image and its boxes |
| random_adjust_brightness | max_delta | adds -max_delta..max_delta of 255 |
| random_adjust_contrast | min_delta, max_delta | the distance to each channel's mean, times a factor between them |
| random_adjust_saturation | min_delta, max_delta | the saturation of HSV, times a factor between them |
| random_adjust_hue | max_delta | turns the hue of HSV by -max_delta..max_delta of a circle |
| random_rgb_to_gray | probability | the luma of ITU-R BT.601 in all channels |

What is drawn is drawn here, on the computer; colours are changed where the network computes, by `training.colour`.
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


def amount(change: Mapping, draw: float) -> float:
    """How much of a change an image gets, by a number drawn uniformly from 0..1; of a mere yes or no, 1 or 0."""
    name = change["name"]
    if "probability" in change:
        return float(draw < change["probability"])
    high = change["max_delta"]
    low = -high if name in ("random_adjust_brightness", "random_adjust_hue") else change["min_delta"]
    return low + draw * (high - low)
