"""ModelDescription: what is said of a model, of whichever format; with how it becomes text or JSON."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

from detect_faces.model_gate import shown


@dataclass(frozen=True)
class Tensor:
    """An input, an output, or a variable.

    Attributes:
        name: as it is fed, fetched or read.
        dtype: numpy's name of it.
        shape: None for a size that is left open; None altogether where even the rank is.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        sizes = (
            "of any shape" if self.shape is None else f"({', '.join('?' if s is None else str(s) for s in self.shape)})"
        )
        return f"{shown(self.name)}  {self.dtype} {sizes}"

    @property
    def size(self) -> int:
        """The number of its elements, of a known shape."""
        count = 1
        for length in self.shape or ():
            count *= length or 0
        return count


@dataclass
class Flops:
    """2 x the multiply-adds of convolutions and matrix products, for one image.

    Attributes:
        count: of those whose shapes are known.
        layers: how many that are.
        input: the shape of the input that they hold for.
        how: "shapes in the file", "shapes inferred", or "shapes seen in a run on a grey image".
        unknown: names of the layers that are not counted.
    """

    count: int
    layers: int
    input: str
    how: str
    unknown: list[str] = field(default_factory=list)


@dataclass
class ModelDescription:
    """What is said of a model.

    Attributes:
        path, kind: the file, and its kind (export.model_file.Kind).
        inputs, outputs: to feed and to fetch.
        snippet: a Python program that runs it on the photograph given as its argument, or reads a checkpoint.
        parameters: numbers in weights, biases and batch norm, moving statistics included.
        weights: the parameters by the type that they are stored as.
        flops: None for a checkpoint.
        operations: how many nodes do each; functions included.
        batch_norm, quantised: a phrase.
        suppression: the operations of non-maximum suppression in it; empty for none.
        leftovers: of training, by kind: how many variables or nodes.
        variables: of a checkpoint.
        notes: what else is worth knowing.
    """

    path: str
    kind: str
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    snippet: str = ""
    parameters: int = 0
    weights: dict[str, int] = field(default_factory=dict)
    flops: Flops | None = None
    operations: dict[str, int] = field(default_factory=dict)
    batch_norm: str = ""
    quantised: str = ""
    suppression: list[str] = field(default_factory=list)
    leftovers: dict[str, int] = field(default_factory=dict)
    variables: list[Tensor] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict:
        """All of it as what JSON can hold."""
        return dataclasses.asdict(self)

    def to_text(self, all_variables: bool = False) -> str:
        """For people: a paragraph for each subject, the snippet last."""
        lines = [f"{self.path}: {self.kind.replace('_', ' ')}"]
        lines += [f"  {'in ' if tensors is self.inputs else 'out'}  {tensor}" for tensors in (self.inputs, self.outputs)
                  for tensor in tensors]  # fmt: skip
        stored = ", ".join(f"{count:,} as {dtype}" for dtype, count in self.weights.items())
        lines.append(f"parameters: {self.parameters:,}" + (f" ({stored})" if stored else ""))
        if self.flops:
            lines.append(
                f"FLOPs: {self.flops.count:,} (2 x multiply-adds) of {self.flops.layers} convolutions and matrix "
                f"products, for {self.flops.input}; {self.flops.how}"
            )
            if self.flops.unknown:
                some = ", ".join(map(shown, self.flops.unknown[:3]))
                lines.append(f"  without {len(self.flops.unknown)} of unknown shape: {some}, ...")
        if self.operations:
            lines.append(f"batch norm: {self.batch_norm}")
            lines.append(f"quantised: {self.quantised}")
            lines.append(f"non-maximum suppression: {', '.join(self.suppression) or 'none in it'}")
        left = ", ".join(f"{count} {kind}" for kind, count in self.leftovers.items())
        lines.append(f"left over from training: {left or 'nothing'}")
        lines += self.notes
        if self.operations:
            lines.append(f"operations: {sum(self.operations.values())}")
            lines += [f"  {count:6}  {shown(op)}" for op, count in self.operations.items()]
        if self.variables:
            lines.append(f"variables: {len(self.variables)}")
            lines += self._table(all_variables)
        return "\n".join([*lines, "", self.snippet])

    def _table(self, all_variables: bool) -> Iterable[str]:
        if all_variables:
            return [f"  {tensor}" for tensor in self.variables]
        rows = [(f"{scope}/...", tensors) for scope, tensors in by_scope(self.variables).items()]
        return [
            f"  {sum(t.size for t in tensors):12,}  in {len(tensors):4}  {shown(scope)}" for scope, tensors in rows
        ] + ["  --variables lists each"]


def by_scope(tensors: list[Tensor], most: int = 40) -> dict[str, list[Tensor]]:
    """Variables grouped by the leading parts of their names: as many parts as give no more than `most` groups."""
    groups: dict[str, list[Tensor]] = {}
    for depth in range(1, 20):
        finer: dict[str, list[Tensor]] = {}
        for tensor in tensors:
            finer.setdefault("/".join(tensor.name.split("/")[:depth]), []).append(tensor)
        if groups and len(finer) > most:
            break
        groups = finer
    return groups
