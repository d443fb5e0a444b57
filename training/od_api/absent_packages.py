"""Shim: empty stand-ins for tensorflow_io and lvis, which the OD API imports at the top of modules we need.

Why: only DeepMAC calls tensorflow_io and only the LVIS metric calls lvis. tensorflow-io has no release for TensorFlow
2.20, and lvis brings a second OpenCV wheel that overwrites files of the first.
Can go when: the OD API imports them where it uses them, or both install beside TensorFlow 2.20 without a second OpenCV.
"""

import importlib.machinery
import importlib.util
import sys
from types import ModuleType

# module -> names that other modules import from it or refer to while they are loaded
STANDINS = {
    "tensorflow_io": (),
    "lvis": ("LVIS", "LVISEval", "LVISResults"),
    "lvis.lvis": ("LVIS",),
    "lvis.eval": ("LVISEval",),
    "lvis.results": ("LVISResults",),
}


def install() -> None:
    for name, classes in STANDINS.items():
        top = name.partition(".")[0]
        if top not in sys.modules and importlib.util.find_spec(top):
            continue  # really installed: use it
        module = ModuleType(name, f"Stand-in for {name}: not installed, and not used by any model of this project.")
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        for class_name in classes:
            setattr(module, class_name, type(class_name, (), {}))
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
