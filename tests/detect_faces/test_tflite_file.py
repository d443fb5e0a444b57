"""The gate on TFLite files: custom operations are refused by name, and damage is one line."""

import flatbuffers
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from detect_faces import Detector, UserError, tflite_file
from detect_faces.model_gate import TFLITE_OPS

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")


def edited(tiny_model, folder, change):
    """A copy of tiny_model whose network `change` has changed: a ModelT, the schema's own mutable form."""
    model = schema.ModelT.InitFromPackedBuf((tiny_model / "model.tflite").read_bytes())
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    (folder / "model.tflite").write_bytes(builder.Output())
    (folder / "model.json").write_bytes((tiny_model / "model.json").read_bytes())
    return folder


def refused(folder, *parts: str) -> None:
    with pytest.raises(UserError) as error:
        Detector(folder)
    message = str(error.value)
    assert message.startswith(f"{folder / 'model.tflite'}: refused: ") and "\n" not in message
    assert all(part in message for part in parts), message
    assert "--trust" not in message  # there is none


@pytest.mark.parametrize("name", ["FlexWriteFile", "FlexPyFunc", "TFLite_Detection_PostProcess", "Evil\nall is well"])
def test_custom_operations(tiny_model, tmp_path, name):
    def change(model):
        custom = schema.OperatorCodeT()
        custom.deprecatedBuiltinCode = custom.builtinCode = schema.BuiltinOperator.CUSTOM
        custom.customCode = name.encode()
        model.operatorCodes.append(custom)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.inputs, operator.outputs = [0], [1]
        model.subgraphs[0].operators.append(operator)
        model.subgraphs[0].tensors[1].name = b"evil"

    index = len(schema.ModelT.InitFromPackedBuf((tiny_model / "model.tflite").read_bytes()).subgraphs[0].operators)
    refused(edited(tiny_model, tmp_path, change), name.replace("\n", r"\n"), f"0:{index} (evil)")


def test_in_another_subgraph(tiny_model, tmp_path):
    def change(model):
        code = schema.OperatorCodeT()
        code.deprecatedBuiltinCode = code.builtinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"FlexReadFile"
        model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes) - 1
        branch = schema.SubGraphT()
        branch.tensors, branch.operators = [], [operator]
        model.subgraphs.append(branch)

    refused(edited(tiny_model, tmp_path, change), "FlexReadFile", "1:0")


def test_listed_and_not_used(tiny_model, tmp_path):
    def change(model):
        code = schema.OperatorCodeT()
        code.builtinCode = schema.BuiltinOperator.STABLEHLO_CUSTOM_CALL
        code.deprecatedBuiltinCode = 127
        model.operatorCodes.append(code)

    refused(edited(tiny_model, tmp_path, change), str(schema.BuiltinOperator.STABLEHLO_CUSTOM_CALL))


def test_builtin_codes_hide_in_neither_of_their_two_fields(tiny_model, tmp_path):
    """LiteRT takes the larger of the two."""
    for field in ("deprecatedBuiltinCode", "builtinCode"):

        def change(model, field=field):
            model.operatorCodes[0].deprecatedBuiltinCode = model.operatorCodes[0].builtinCode = 0
            setattr(model.operatorCodes[0], field, schema.BuiltinOperator.DELEGATE)

        refused(edited(tiny_model, tmp_path, change), "builtin operation 51", "0:")


def test_weights_in_files_that_the_model_names(tiny_model, tmp_path):
    if not hasattr(schema, "ExternalBufferGroupT"):
        pytest.skip("this LiteRT's schema has none")

    def change(model):
        group = schema.ExternalBufferGroupT()
        group.name = b"/etc/passwd"
        model.externalBufferGroups = [group]

    refused(edited(tiny_model, tmp_path, change), "in other files")


def test_the_list_has_the_names_of_the_schema():
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    assert TFLITE_OPS == {code: names[code] for code in TFLITE_OPS}
    assert not {"CUSTOM", "DELEGATE", "STABLEHLO_CUSTOM_CALL"} & set(TFLITE_OPS.values())


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\xff\xd8\xff\xe0 photograph", b"<html>", b"\x1c\0\0\0TFL3"])
def test_what_is_no_tflite_file(tmp_path, data):
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"model\.tflite: (not a|the file is empty)"):
        tflite_file.gate(path)
    with pytest.raises(UserError, match="No such file"):
        tflite_file.gate(tmp_path / "gone.tflite")


def damage(draw_bytes, data: bytes) -> bytes:
    kind, place, value = draw_bytes
    place %= len(data)
    if kind == "cut":
        return data[:place]
    if kind == "flip":
        return data[:place] + bytes([data[place] ^ value]) + data[place + 1 :]
    return data[:place] + bytes([value]) * 4 + data[place + 4 :]  # a wild offset or length


FORMS = st.tuples(st.sampled_from(["cut", "flip", "wild"]), st.integers(0, 10**6), st.integers(1, 255))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(forms=st.lists(FORMS, min_size=1, max_size=3))
@example(forms=[("wild", 112, 128)])  # a name that is no text
def test_damage_is_one_line_or_harmless(tiny_model, tmp_path, forms):
    data = (tiny_model / "model.tflite").read_bytes()
    for form in forms:
        data = damage(form, data) or b"\0"
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    (tmp_path / "model.json").write_bytes((tiny_model / "model.json").read_bytes())
    try:
        Detector(tmp_path)
    except UserError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
def test_random_bytes(tmp_path, data):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\x10\0\0\0TFL3" + data)
    try:
        tflite_file.gate(path)
    except UserError as error:
        assert "\n" not in str(error)
