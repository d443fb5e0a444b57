"""Report: what became of a batch of images: what is done, changed, left out and why, and what is bad."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from detect_faces.errors import UserError


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


@dataclass
class Report:
    """Counts of one conversion. `show` takes the line of each problem as it is found.

    Attributes:
        images, boxes: written.
        clipped: boxes cut to their image.
        dropped: boxes left out, by reason; none of them is a mistake in the data.
        skipped: images left out, by reason; likewise.
        reencoded: images that could not be kept byte for byte, by reason.
        problems: bad images, boxes and lines; each was shown.
        not_kept: boxes that lose a flag, by the flag: the target format cannot hold it.
        class_names: of all boxes that were read, by their names in the source, those left out included.
    """

    show: Callable[[str], None] = _to_stderr
    images: int = 0
    boxes: int = 0
    clipped: int = 0
    dropped: Counter = field(default_factory=Counter)
    skipped: Counter = field(default_factory=Counter)
    reencoded: Counter = field(default_factory=Counter)
    problems: int = 0
    class_names: Counter = field(default_factory=Counter)
    not_kept: Counter = field(default_factory=Counter)

    def chosen(self, name: str, classes: Mapping[str, str] | None) -> str | None:
        """The class that boxes called `name` are taken as; None for one that is left out, which is counted.

        classes: {name: class} of those to take; None takes all, under their own names.
        """
        self.class_names[name] += 1
        if classes is None:
            return name
        if name not in classes:
            self.dropped["of another class"] += 1
        return classes.get(name)

    def problem(self, place: str, reason: str) -> None:
        """Shows and counts a bad item. `place` is the file, with the line or record where there is one."""
        self.problems += 1
        self.show(f"error: {place}: {reason}")

    def problem_again(self, line: str) -> None:
        """Shows and counts a bad item by the line that another report showed of it."""
        self.problems += 1
        self.show(line)

    def add(self, other: "Report") -> None:
        """Adds the counts of another part of the same batch, whose problems were shown already."""
        for name in ("images", "boxes", "clipped", "problems"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("dropped", "skipped", "reencoded", "class_names", "not_kept"):
            getattr(self, name).update(getattr(other, name))

    def need_images(self, output: str | Path) -> None:
        """Raises UserError when nothing was written, so that what `output` held before is kept."""
        if not self.images:
            raise UserError(f"{output}: not written, as there is not one good image to put into it")

    def counts(self) -> dict:
        """All counts, for JSON."""
        return {
            "images": self.images,
            "boxes": self.boxes,
            "clipped": self.clipped,
            "dropped": dict(sorted(self.dropped.items())),
            "skipped": dict(sorted(self.skipped.items())),
            "reencoded": dict(sorted(self.reencoded.items())),
            "not_kept": dict(sorted(self.not_kept.items())),
            "problems": self.problems,
        }

    def table(self) -> str:
        """The counts as text, one a line."""
        rows = [("images", self.images, ""), ("boxes", self.boxes, ""), ("boxes clipped", self.clipped, "")]
        for what, reasons in [
            ("boxes dropped", self.dropped),
            ("images left out", self.skipped),
            ("images re-encoded", self.reencoded),
        ]:
            rows += [(what, number, reason) for reason, number in sorted(reasons.items())] or [(what, 0, "")]
        rows += [("flags not kept", number, flag) for flag, number in sorted(self.not_kept.items())]
        rows.append(("problems", self.problems, "listed above" if self.problems else ""))
        return "\n".join(f"{what:<18}{number:>10,}  {reason}".rstrip() for what, number, reason in rows)
