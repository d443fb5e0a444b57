"""Shim: the names of tf.compat.v1.estimator that the OD API mentions while it is loaded.

Why: TensorFlow 2.16 removed estimators. The OD API's TF2 path never builds one, but `inputs` and `model_lib` (whose
functions the TF2 path shares) take ModeKeys and ServingInputReceiver from there.
Can go when: the OD API no longer imports `tensorflow.compat.v1.estimator`.
"""

import sys
from types import ModuleType, SimpleNamespace


def install() -> None:
    import tensorflow as tf

    name = "tensorflow.compat.v1.estimator"
    module = ModuleType(name, "Stand-in for the estimators that TensorFlow 2.16 removed.")
    module.ModeKeys = SimpleNamespace(TRAIN="train", EVAL="eval", PREDICT="infer")
    module.export = SimpleNamespace(ServingInputReceiver=object)
    sys.modules[name] = module
    tf.compat.v1.estimator = module
