"""A page of thumbnails as one HTML file: pictures inside, no scripts, nothing loaded from elsewhere."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """
body { margin: 1em; font: 14px/1.4 system-ui, sans-serif; color: #222; background: #fff }
main { display: grid; grid-template-columns: COLUMNS; gap: 1em; align-items: start }
figure { margin: 0; min-width: 0 }
img { display: block; max-width: 100%; height: auto }
figcaption { overflow-wrap: anywhere }
ul { margin: .2em 0; padding-left: 1.2em }
details { margin: .2em 0 }
.error, .warning { color: #b00 }
.note { color: #666 }
"""


@dataclass(frozen=True)
class Card:
    """A picture with what is said about it.

    Attributes:
        jpeg: the picture; None for one that cannot be shown.
        width, height: pixels of the picture.
        name: the first line under it.
        about: the second line.
        points: (severity, text) of the list under these.
    """

    jpeg: bytes | None
    width: int
    height: int
    name: str
    about: str
    points: Sequence[tuple[str, str]]


def page(title: str, about: str, cards: Sequence[Card], columns: int | None, shown_points: int = 5) -> bytes:
    """The page, in UTF-8.

    Args:
        title: of the page.
        about: a line below it.
        cards: one after another.
        columns: cards in a row; None for as many as there is room for.
        shown_points: of each card; the others are folded up.
    """
    grid = f"repeat({columns}, 1fr)" if columns else "repeat(auto-fill, minmax(20em, 1fr))"
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        # Belt and braces: names are escaped, and this page may not run or load anything.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE.replace('COLUMNS', grid)}</style>",
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(about)}</p>",
        "<main>",
        *(_figure(card, shown_points) for card in cards),
        "</main>",
        "</html>",
        "",
    ]
    return "\n".join(parts).encode("utf-8", "backslashreplace")  # file names need not be UTF-8


def _figure(card: Card, shown: int) -> str:
    parts = ["<figure>"]
    if card.jpeg is not None:
        data = base64.b64encode(card.jpeg).decode()
        size = f'width="{card.width}" height="{card.height}"'
        parts.append(f'<img loading="lazy" {size} alt="{escape(card.name)}" src="data:image/jpeg;base64,{data}">')
    parts.append(f"<figcaption><b>{escape(card.name)}</b><br>{escape(card.about)}")
    if card.points[:shown]:
        parts.append(_list(card.points[:shown]))
    if more := card.points[shown:]:
        parts.append(f"<details><summary>{len(more)} more</summary>{_list(more)}</details>")
    return "".join([*parts, "</figcaption></figure>"])


def _list(points: Sequence[tuple[str, str]]) -> str:
    items = (f'<li class="{escape(severity)}">{escape(text)}</li>' for severity, text in points)
    return f"<ul>{''.join(items)}</ul>"
