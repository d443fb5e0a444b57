"""Protobuf texts: the place of each field, and what is said of a wrong one."""

import pytest
from google.protobuf import text_format

from tools import pipeline_config, text_proto

TYPE = pipeline_config.message_class("DetectionModel")
TEXT = """# { comment
ssd {
  anchor_generator <
    flexible_grid_anchor_generator: {
      anchor_grid { base_sizes: [1, -2,
        3] base_sizes: 4; }, anchor_grid {}
      anchor_grid: [ { height_stride: 8 }, {} ]
    }
  >
  feature_extractor { type: "a{" 'b: '
    made_up { of: [x, { y: 1 }] } num_layers: 3 }
  [some.extension]: 5
}"""


def test_places():
    grid = "ssd.anchor_generator.flexible_grid_anchor_generator.anchor_grid"
    assert text_proto.lines(TEXT, TYPE.DESCRIPTOR) == {
        "ssd": 2,
        "ssd.anchor_generator": 3,
        "ssd.anchor_generator.flexible_grid_anchor_generator": 4,
        f"{grid}[0]": 5,
        f"{grid}[0].base_sizes[0]": 5,
        f"{grid}[0].base_sizes[1]": 5,
        f"{grid}[0].base_sizes[2]": 6,
        f"{grid}[0].base_sizes[3]": 6,
        f"{grid}[1]": 6,
        f"{grid}[2]": 7,
        f"{grid}[2].height_stride": 7,
        f"{grid}[3]": 7,
        "ssd.feature_extractor": 10,
        "ssd.feature_extractor.type": 10,
        "ssd.feature_extractor.made_up": 11,
        "ssd.feature_extractor.made_up.of": 11,
        "ssd.feature_extractor.made_up.of.y": 11,
        "ssd.feature_extractor.num_layers": 11,
        "ssd.extension": 12,
    }


def test_the_line_of_what_is_not_there_is_that_of_what_should_hold_it():
    lines = text_proto.lines(TEXT, TYPE.DESCRIPTOR)
    grid = "ssd.anchor_generator.flexible_grid_anchor_generator.anchor_grid"
    assert text_proto.line_of("ssd.matcher.argmax_matcher", lines) == 2
    assert text_proto.line_of(f"{grid}[2].width_stride", lines) == 7
    assert text_proto.line_of(f"{grid}[9].width_stride", lines) == 5
    assert text_proto.line_of(f"{grid}[0].base_sizes", lines) == 5
    assert text_proto.line_of("faster_rcnn.x[3].y", lines) is None


@pytest.mark.parametrize("path", sorted(pipeline_config.PIPELINES.glob("*.config")), ids=lambda path: path.stem)
def test_every_field_that_protobuf_reads_has_its_place(path):
    """Fields that our own partial type knows, counted in the message and in the text."""
    text = path.read_text()
    config = pipeline_config.message_class("TrainEvalPipelineConfig")()
    text_format.Parse(text, config, allow_unknown_field=True, allow_unknown_extension=True)

    def count(message) -> int:
        total = 0
        for field, value in message.ListFields():
            for each in value if field.is_repeated else [value]:
                total += 1 + (count(each) if field.message_type else 0)
        return total

    known = [place for place in text_proto.places(text, config.DESCRIPTOR) if place.field]
    assert len(known) == count(config) >= 20
    rows = text.splitlines()
    for place in known:
        assert rows[place.line - 1][place.column - 1 :].startswith(place.names[-1]) or place.field.is_repeated


@pytest.mark.parametrize("text", ["ssd {", "ssd }", "ssd: [", "{", "a: ", "a: }", "[a", "[a.]: 3", "a: [1 2]", "a {]}"])
def test_a_text_that_is_none_ends(text):
    with pytest.raises(text_format.ParseError):
        list(text_proto.places(text, TYPE.DESCRIPTOR))
    with pytest.raises(text_proto.TextError) as caught:
        text_proto.parse(text, TYPE())
    assert "\n" not in caught.value.reason


@pytest.mark.parametrize(
    "text, line, column, reason",
    [
        ("ssd {\n  mather {} }", 2, 3, "Ssd has no field 'mather'; did you mean matcher?"),
        ("ssd {}\nssd {}", 2, 5, "ssd is there already, in line 1"),
        ("ssd {\n feature_extractor { num_layers: six } }", 2, 34, "num_layers takes a whole number, not six"),
        ("ssd { feature_extractor { type: a } }", 1, 33, "type takes text in quotes, not a"),
        ("ssd {} faster_rcnn {}", 1, 8, 'another member of oneof "model"'),
        ("ssd {" + "x {" * 300, None, None, ""),
    ],
)
def test_errors(text, line, column, reason):
    with pytest.raises(text_proto.TextError) as caught:
        text_proto.parse(text, TYPE())
    if line is not None:
        assert (caught.value.line, caught.value.column) == (line, column)
    assert reason in caught.value.reason


def test_nesting_has_an_end():
    deep = "a {" * 2000 + "}" * 2000
    with pytest.raises(text_proto.TextError):
        text_proto.parse(deep, TYPE())
    with pytest.raises(text_format.ParseError, match="too deep"):
        list(text_proto.places(deep, TYPE.DESCRIPTOR))
