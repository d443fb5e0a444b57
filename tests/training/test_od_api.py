"""The shims under the OD API: when they are put in place, what they mend, and that each says why it exists."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training import od_api

ROOT = Path(__file__).parents[2]


def in_a_fresh_process(code: str) -> list[str]:
    """What the code prints, by lines."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_other_rooms_import_no_tensorflow_and_trigger_no_shim():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for room in ("detect_faces", "tools", "evaluation")
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name != "__main__.py"
    ]
    assert {"detect_faces.faces", "tools.convert", "evaluation.evaluate"} <= set(modules)
    code = f"""
import importlib, sys
finders = list(sys.meta_path)
for name in {[*modules, "training"]}:
    importlib.import_module(name)
heavy = {{"tensorflow", "tf_keras", "object_detection", "tensorflow_io", "lvis", "training.od_api"}}
print(sorted(heavy & set(sys.modules)), sys.meta_path == finders)
import numpy, PIL.ImageFont
print(hasattr(numpy, "int"), hasattr(PIL.ImageFont.FreeTypeFont, "getsize"))
"""
    assert in_a_fresh_process(code) == ["[] True", "False False"]


def test_without_keras_2_one_line_says_what_to_do():
    code = """
import training, os
os.environ["TF_USE_LEGACY_KERAS"] = "0"
try:
    import training.od_api
except Exception as error:
    print(type(error).__name__, error)
"""
    assert in_a_fresh_process(code) == [
        "UserError the OD API needs Keras 2: set the environment variable TF_USE_LEGACY_KERAS=1"
    ]


def test_every_shim_says_why_it_exists_and_when_it_can_go():
    assert len(od_api.SHIMS) == len(set(od_api.SHIMS)) >= 8
    installers = {
        path.stem for path in (ROOT / "training/od_api").glob("*.py") if "\ndef install(" in path.read_text()
    } - {"__init__"}
    assert {shim.__name__.rpartition(".")[2] for shim in od_api.SHIMS} == installers
    for shim in od_api.SHIMS:
        assert re.search(r"^Why: \S.*^Can go when: \S", shim.__doc__, re.MULTILINE | re.DOTALL), shim.__name__


def test_only_this_folder_imports_the_od_api():
    files = [
        path for room in ("detect_faces", "evaluation", "export", "training") for path in (ROOT / room).rglob("*.py")
    ]
    importing = [
        path for path in files if re.search(r"^\s*(from|import) object_detection\b", path.read_text(), re.MULTILINE)
    ]
    assert {path.parent for path in importing} == {ROOT / "training/od_api"}


def test_numpy_pillow_and_tensorflow_after_the_shims():
    import tensorflow as tf
    from PIL import ImageFont

    assert np.bool is np.bool_ and np.bool is not bool  # NumPy 2's own
    assert np.int is int and np.float is float
    font = ImageFont.load_default()
    width, height = font.getsize("face")
    assert 0 < width < 100 and 0 < height < 50
    assert font.getsize("a face")[0] > width
    assert tf.keras.layers.Layer.__module__.startswith("tf_keras.")  # Keras 2


def protobuf_sources() -> list[Path]:
    from object_detection import protos

    return sorted(Path(protos.__path__[0]).glob("*_pb2.py"))


def messages(serialized: bytes):
    """A FileDescriptorProto, its decimal defaults in one spelling: protobuf writes 0.8 as 0.800000012."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    def respell(message):
        for field in message.field:
            if field.HasField("default_value") and field.type == field.TYPE_FLOAT:
                field.default_value = str(np.float32(field.default_value))
        for nested in message.nested_type:
            respell(nested)
        return message

    file = FileDescriptorProto.FromString(serialized)
    for message in file.message_type:
        respell(message)
    return file


def test_protobuf_modules_are_those_of_the_package():
    """A generated module describes its fields twice: in the bytes that the shim reads, and in Python calls."""
    field = re.compile(
        r"name='(\w+)', full_name='(object_detection\.protos\.[\w.]+)', index=\d+,\s+number=(\d+), type=(\d+),"
    )
    sources = protobuf_sources()
    assert len(sources) == 34
    fields = 0
    for path in sources:
        module = importlib.import_module(f"object_detection.protos.{path.stem}")
        (literal,) = re.findall(r"serialized_pb=(b'.*')", path.read_text())
        assert messages(module.DESCRIPTOR.serialized_pb) == messages(eval(literal)), path.stem
        pool = module.DESCRIPTOR.pool
        for name, full_name, number, kind in field.findall(path.read_text()):
            found = pool.FindFieldByName(full_name) if "extension" not in full_name else None
            assert (found.name, found.number, found.type) == (name, int(number), int(kind)), full_name
            fields += 1
        for name in module.DESCRIPTOR.message_types_by_name:
            assert getattr(module, name)().IsInitialized() in (True, False)
            assert getattr(module, name).__module__ == module.__name__
    assert fields > 500


def test_messages_are_parsed_and_printed():
    from google.protobuf import text_format
    from object_detection.protos import pipeline_pb2, string_int_label_map_pb2

    text = (
        "model {\n  ssd {\n    num_classes: 1\n    image_resizer {\n      fixed_shape_resizer {\n        height: 300\n"
    )
    text += "        width: 300\n      }\n    }\n  }\n}\n"
    message = text_format.Parse(text, pipeline_pb2.TrainEvalPipelineConfig())
    assert text_format.MessageToString(message) == text
    assert type(message).FromString(message.SerializeToString()) == message
    assert message.train_config.optimizer.use_moving_average is True  # a default of the file
    label_map = text_format.Parse('item { id: 1 name: "face" }', string_int_label_map_pb2.StringIntLabelMap())
    assert label_map.item[0].name == "face"


def test_stand_ins_give_way_to_what_is_installed(monkeypatch):
    from training.od_api import absent_packages

    monkeypatch.setattr(absent_packages, "STANDINS", {"wave": ("Wave_read",)})
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    absent_packages.install()
    assert "wave" not in sys.modules
    import wave

    assert wave.__file__


@pytest.mark.parametrize("name", ["case", "cond", "while_loop"])
def test_control_flow_where_tf_slim_looks_for_it(name):
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_ops

    one, two = (lambda: tf.constant(1)), (lambda: tf.constant(2))
    results = {
        "case": lambda f: f([(tf.constant(False), one)], default=two),
        "cond": lambda f: f(tf.constant(False), one, two),
        "while_loop": lambda f: f(lambda i: i < 2, lambda i: (i + 1,), [tf.constant(0)])[0],
    }
    assert int(results[name](getattr(control_flow_ops, name))) == 2
