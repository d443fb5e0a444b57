"""The text form of protobuf messages: parsed with errors that say what was meant, and the line of each field.

A field is named by the names that lead to it, elements of a repeated field by their number from 0, an extension by the
last part of its name:

    model.ssd.num_classes
    train_config.data_augmentation_options[1].random_horizontal_flip
    trainer.patience                                                    (stands in [face_detector.trainer] { ... })
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_DEEPEST = 100  # messages in messages, protobuf's own limit elsewhere
_VALUE_ERROR = re.compile(r"Couldn't parse|[Oo]ut of range|^Expected \"true\"|^Enum type|^Expected string|^String ")


class TextError(Exception):
    """What is wrong with a text.

    Attributes:
        line, column: where, from 1; None where it cannot be told.
        reason: what, in one line.
    """

    def __init__(self, line: int | None, column: int | None, reason: str):
        self.line, self.column, self.reason = line, column, reason
        super().__init__(reason)


@dataclass(frozen=True)
class Place:
    """Where a field stands in a text.

    Attributes:
        path: the field, as the module's docstring says.
        names: the names in `path`, without numbers.
        line, column: of the name, from 1; of the element in a list [a, b].
        parent: the type of the message it stands in; None where that is unknown.
        field: its descriptor; None where it is unknown.
        holds_message: whether its value is a message.
        extension: the full name of an extension, "" of a field.
    """

    path: str
    names: tuple[str, ...]
    line: int
    column: int
    parent: Descriptor | None
    field: FieldDescriptor | None
    holds_message: bool
    extension: str = ""


def parse(text: str, message: Message) -> Message:
    """Fills `message` from its text form and returns it.

    Raises:
        TextError: an unknown field, a value of another type, a singular field that is there twice, or no such text.
    """
    try:
        return text_format.Parse(text, message, max_recursion_depth=_DEEPEST)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        raise TextError(line, column, _explained(error, text, message.DESCRIPTOR)) from error


def places(text: str, descriptor: Descriptor) -> Iterator[Place]:
    """Every field of a text, in its order; fields that the type doesn't have, too.

    Raises:
        text_format.ParseError: it is not well-formed, when the iterator comes to that place.
    """
    tokens = text_format.Tokenizer(text.split("\n"))
    yield from _fields(tokens, descriptor, (), "", None)


def lines(text: str, descriptor: Descriptor) -> dict[str, int]:
    """{path: line} of every field of a well-formed text, where it first stands."""
    found: dict[str, int] = {}
    for place in places(text, descriptor):
        found.setdefault(place.path, place.line)
    return found


def line_of(path: str, known: dict[str, int]) -> int | None:
    """The line of a field, or of the nearest message around it that is there; `known` is what `lines` gave."""
    while path and path not in known and f"{path}[0]" not in known:
        path = re.sub(r"(\.|^)\w+$|\[\d+\]$", "", path)
    return known.get(path) or known.get(f"{path}[0]")


def near(name: str, known: Iterable[str]) -> str:
    """What was meant by `name`: the nearest of `known`, or all of them where none is near.

    >>> near("bach_size", ["batch_size", "num_steps"])
    'did you mean batch_size?'
    """
    known = list(known)
    if close := _close(name, known):
        return f"did you mean {' or '.join(close)}?"
    return f"there are {', '.join(known)}" if known else "it has none"


def _close(name: str, known: Iterable[str]) -> list[str]:
    lower = {each.lower(): each for each in known}
    return [lower[each] for each in difflib.get_close_matches(name.lower(), lower, n=3)]


def expected(field: FieldDescriptor) -> str:
    """What a field (or an element of it) takes, in words."""
    if field.message_type:
        return f"{{ ... }}, a {field.message_type.name}"
    if field.enum_type:
        return f"one of {', '.join(value.name for value in field.enum_type.values)}"
    if field.type in (field.TYPE_UINT32, field.TYPE_UINT64, field.TYPE_FIXED32, field.TYPE_FIXED64):
        return "a whole number, 0 or more"
    words = {
        field.CPPTYPE_BOOL: "true or false",
        field.CPPTYPE_STRING: "text in quotes",
        field.CPPTYPE_FLOAT: "a number",
        field.CPPTYPE_DOUBLE: "a number",
    }
    return words.get(field.cpp_type, "a whole number")


def unknown_field(parent: Descriptor, name: str, more: Iterable[str] = ()) -> str:
    """The reason for refusing a field that a message type doesn't have; `more`: other names that it takes."""
    extensions = parent.file.pool.FindAllExtensions(parent) if parent.is_extendable else []
    written = [f"did you mean [{each.full_name}]?" for each in extensions if each.name == name]
    hint = written[0] if written else near(name, [*parent.fields_by_name, *more])
    return f"{parent.name} has no field {name!r}; {hint}"


def _explained(error: text_format.ParseError, text: str, descriptor: Descriptor) -> str:
    """protobuf's reason, in better words where the field is known that it is about."""
    at = (error.GetLine() or 0, error.GetColumn() or 0)
    rows = text.split("\n")
    row = rows[at[0] - 1] if 0 < at[0] <= len(rows) else ""
    reason = re.sub(r"^\d+:\d+ : ", "", str(error)).removeprefix(f"'{row}': ")
    reason = " ".join(reason.split())
    before: list[Place] = []  # the fields that begin at or before the error
    try:
        for place in places(text, descriptor):
            if (place.line, place.column) > at:
                break
            before.append(place)
    except text_format.ParseError:
        pass
    if not before or before[-1].parent is None:
        return reason
    place = before[-1]
    if place.field is None and "has no field" in reason:
        return unknown_field(place.parent, place.names[-1])
    if place.field is None and place.extension and "not registered" in reason:
        known = [each.full_name for each in place.parent.file.pool.FindAllExtensions(place.parent)]
        return f"{place.parent.name} has no extension {place.extension!r}; {near(place.extension, known)}"
    if place.field and "should not have multiple" in reason:
        first = next(each.line for each in before if each.path == place.path)
        return f"{place.path} is there already, in line {first}"
    if place.field and not place.field.message_type and _VALUE_ERROR.search(reason):
        value = re.match(r"\"[^\"]*\"?|'[^']*'?|[^\s,;\]}>]*", row[at[1] - 1 :]).group().strip() or "nothing"
        reason = f"{place.path} takes {expected(place.field)}, not {value}"
        names = [each.name for each in place.field.enum_type.values] if place.field.enum_type else []
        return f"{reason}; {near(value, names)}" if _close(value, names) else reason
    return reason


def _fields(
    tokens: text_format.Tokenizer, descriptor: Descriptor | None, names: tuple[str, ...], prefix: str, end: str | None
) -> Iterator[Place]:
    """The fields of the message that the tokenizer stands in, and those within them."""
    if len(names) > _DEEPEST:
        raise tokens.ParseError("too deep: a message in a message, and so on")
    counts: Counter[str] = Counter()
    while not (tokens.AtEnd() if end is None else tokens.TryConsume(end)):
        here = tokens.ParseError("")
        name, field, extension = _name(tokens, descriptor)
        tokens.TryConsume(":")
        in_list = (field is None or field.is_repeated) and tokens.TryConsume("[")
        more = not (in_list and tokens.TryConsume("]"))  # an empty list has nothing to say
        while more:
            path = f"{prefix}{name}[{counts[name]}]" if field and field.is_repeated else prefix + name
            counts[name] += 1
            if in_list:
                here = tokens.ParseError("")
            close = {"{": "}", "<": ">"}.get(tokens.token)
            inner = (*names, name)
            at = here.GetLine(), here.GetColumn()
            yield Place(path, inner, *at, descriptor, field, close is not None, extension)
            if close:
                tokens.NextToken()
                yield from _fields(tokens, field.message_type if field else None, inner, f"{path}.", close)
            else:
                _skip_scalar(tokens)
            more = in_list and not tokens.TryConsume("]")
            if more:
                tokens.Consume(",")
        if not tokens.TryConsume(","):
            tokens.TryConsume(";")


def _name(tokens: text_format.Tokenizer, descriptor: Descriptor | None) -> tuple[str, FieldDescriptor | None, str]:
    """Reads a field's name: (name, descriptor, ""), of an extension (last part, descriptor, full name)."""
    if not tokens.TryConsume("["):
        name = tokens.ConsumeIdentifierOrNumber()
        return name, descriptor.fields_by_name.get(name) if descriptor else None, ""
    name = tokens.ConsumeIdentifier()
    while tokens.TryConsume("."):
        name += f".{tokens.ConsumeIdentifier()}"
    tokens.Consume("]")
    try:
        field = descriptor.file.pool.FindExtensionByName(name) if descriptor else None
    except KeyError:
        field = None
    return name.rpartition(".")[2], field, name


def _skip_scalar(tokens: text_format.Tokenizer) -> None:
    if tokens.AtEnd() or tokens.token in "{}<>[]:,;":
        raise tokens.ParseError("Expected a value.")
    tokens.TryConsume("-")
    quoted = tokens.token.startswith(('"', "'"))
    tokens.NextToken()
    while quoted and tokens.token.startswith(('"', "'")):  # adjacent strings are one
        tokens.NextToken()
