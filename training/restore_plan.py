"""What a checkpoint gives to a model: the plan that is shown before any of it is used."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import tensorflow as tf

from detect_faces.errors import UserError

LINES = 16  # of names of one kind; more are put together by what they begin with


@dataclass(frozen=True)
class Stored:
    """A value of a checkpoint: the key that it is read by, and its shape."""

    key: str
    shape: list[int]


@dataclass(frozen=True)
class Part:
    """A variable of the model and where it starts.

    Attributes:
        name: in the checkpoint's naming.
        variable: of the model.
        stored: what the checkpoint has under this name; None where it has nothing.
        columns: for each entry of the variable's last axis the one of the stored value's that it starts from, None for
            its initial value; None in place of the list where the whole value is taken.
    """

    name: str
    variable: tf.Variable
    stored: Stored | None
    columns: list[int | None] | None = None

    @property
    def parameters(self) -> int:
        return self.variable.shape.num_elements()

    @property
    def note(self) -> str:
        """The shape in the model, and what is in the checkpoint."""
        there = "not in the checkpoint" if self.stored is None else f"in the checkpoint {self.stored.shape}"
        return f"{self.variable.shape.as_list()}, {there}"


@dataclass(frozen=True)
class RestorePlan:
    """Every variable of a model in one of four lists, and what is left over of the checkpoint.

    Attributes:
        checkpoint: its prefix.
        restored: takes the value that has its name and shape.
        by_class: takes columns of a head of other classes.
        reinitialised: keeps its initial value, as an explicit pattern allows.
        refused: would keep its initial value, and nothing allows that.
        unused: names in the checkpoint that the model has no variable for.
        class_name: what `by_class` is called in the table.
    """

    checkpoint: str
    restored: list[Part]
    by_class: list[Part]
    reinitialised: list[Part]
    refused: list[Part]
    unused: dict[str, Stored]
    class_name: str = ""

    def check(self) -> None:
        """Raises UserError where a variable is refused."""
        if not self.refused:
            return
        total = sum(map(len, (self.restored, self.by_class, self.reinitialised, self.refused)))
        first = self.refused[0]
        raise UserError(
            f"{self.checkpoint}: a checkpoint of another model: {len(self.refused)} of {total} variables cannot be "
            f"restored, such as {first.name} ({first.note}); --class-from (CLASS_FROM=) takes over heads of other "
            "classes, --map (MAP=) renames, --reinitialise (REINITIALISE=) names what may start anew"
        )

    def __str__(self) -> str:
        """The table, then the names of what is not simply restored: ~ by columns, - and ! not at all, + unused."""
        kinds = [(" ", "restored", self.restored), ("~", f"restored by columns, {self.class_name}", self.by_class)]
        for mark, what, parts in (
            ("-", "as --reinitialise allows", self.reinitialised),
            ("!", "which nothing allows", self.refused),
        ):
            absent = [part for part in parts if part.stored is None]
            others = [part for part in parts if part.stored is not None]
            kinds.append((mark, f"initial values, {what}: not in the checkpoint", absent))
            kinds.append((mark, f"initial values, {what}: of another shape there", others))
        parameters = sum(part.parameters for _, _, parts in kinds for part in parts)
        lines = [f"what of {self.checkpoint} goes into the model:", "  variables  parameters"]
        for mark, what, parts in kinds:
            count = sum(part.parameters for part in parts)
            if parts:
                lines.append(f"{mark} {len(parts):9}  {count:10,}  {count / parameters:6.1%}  {what}")
        if self.unused:
            count = sum(prod(stored.shape) for stored in self.unused.values())
            lines.append(f"+ {len(self.unused):9}  {count:10,}          of the checkpoint, not used")
        for mark, _, parts in kinds[1:]:
            lines += outline(mark, [(part.name, part.note, part.parameters) for part in parts])
        lines += outline("+", [(name, str(stored.shape), prod(stored.shape)) for name, stored in self.unused.items()])
        return "\n".join(lines)


def outline(mark: str, names: Iterable[tuple[str, str, int]]) -> list[str]:
    """Lines for (name, note, parameters), sorted; where there are many, those with a common beginning are one line.

    >>> outline("+", [("a/b", "[2]", 2), ("a/c", "[1]", 1)])
    ['+ a/b  [2]', '+ a/c  [1]']
    """
    groups = {(): sorted(names)}
    while len(groups) < LINES:
        # the largest group is told apart by its next component, as long as the lines suffice
        for beginning, members in sorted(groups.items(), key=lambda group: -len(group[1])):
            finer: dict[tuple, list] = {}
            for member in members:
                finer.setdefault(tuple(member[0].split("/")[: len(beginning) + 1]), []).append(member)
            if len(members) > 1 and len(groups) - 1 + len(finer) <= LINES:
                del groups[beginning]
                groups |= finer
                break
        else:
            break
    lines = []
    for beginning, members in sorted(groups.items()):
        if len(members) == 1:
            lines.append(f"{mark} {members[0][0]}  {members[0][1]}")
        elif members:
            start = "/".join((*beginning, ""))
            lines.append(f"{mark} {start}...  {len(members)} variables, {sum(n for _, _, n in members):,} parameters")
    return lines
