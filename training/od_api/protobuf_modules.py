"""Shim: rebuild the OD API's protobuf modules from the descriptors inside them.

Why: its `*_pb2.py` were written by a protoc of 2021; protobuf 4 and later refuse to run them ("Descriptors cannot be
created directly"). Each of them carries its serialised FileDescriptorProto, and that is all protobuf needs.
Can go when: a release of the OD API carries modules of protoc 3.20 or later.
"""

import ast
import importlib
import importlib.abc
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = "object_detection.protos"


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads object_detection.protos.*_pb2 without running its code."""

    def find_spec(self, name, path, target=None):
        package, _, stem = name.rpartition(".")
        if package != PACKAGE or not stem.endswith("_pb2"):
            return None
        files = [Path(folder, f"{stem}.py") for folder in path or ()]
        found = next((file for file in files if file.is_file()), None)
        return found and importlib.util.spec_from_file_location(name, found, loader=self)

    def create_module(self, spec):
        return None

    def exec_module(self, module: ModuleType) -> None:
        from google.protobuf import descriptor_pool
        from google.protobuf.internal import builder

        source = ast.parse(Path(module.__spec__.origin).read_text(encoding="utf-8"))
        for statement in source.body:  # a descriptor can only be added after those it imports
            if isinstance(statement, ast.ImportFrom) and statement.module == PACKAGE:
                for alias in statement.names:
                    importlib.import_module(f"{PACKAGE}.{alias.name}")
        descriptor = descriptor_pool.Default().AddSerializedFile(_serialized_file(source))
        module.DESCRIPTOR = descriptor
        builder.BuildMessageAndEnumDescriptors(descriptor, module.__dict__)
        builder.BuildTopDescriptorsAndMessages(descriptor, module.__name__, module.__dict__)


def _serialized_file(source: ast.Module) -> bytes:
    """The FileDescriptorProto in a generated module: the keyword serialized_pb, or what AddSerializedFile is given."""
    for node in ast.walk(source):
        if isinstance(node, ast.keyword) and node.arg == "serialized_pb" and isinstance(node.value, ast.Constant):
            return node.value.value
        if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "AddSerializedFile":
            return node.args[0].value
    raise ImportError("a protobuf module of the OD API holds no descriptor")


def install() -> None:
    sys.meta_path.insert(0, _Finder())
