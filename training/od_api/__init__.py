"""The TensorFlow Object Detection API, made to run on current TensorFlow.

The newest OD API on PyPI (tf-models-research-object-detection 2.8.0.post1) was written for TensorFlow 2.8. Importing
this package puts small shims under it; nothing of the OD API itself is edited. Each shim is a module of its own that
says why it exists and when it can go. Only modules of this folder import `object_detection`: importing any other part
of the project, `training` included, triggers none of this.
"""

import logging
import os
import warnings

from detect_faces.errors import UserError
from training.od_api import (
    absent_packages,
    class_bias,
    control_flow,
    estimator,
    faster_rcnn_stride8,
    giou_loss,
    numpy_aliases,
    pillow_fonts,
    protobuf_modules,
)

# In this order: the last three already import modules of the OD API.
SHIMS = (
    protobuf_modules,
    absent_packages,
    estimator,
    control_flow,
    numpy_aliases,
    pillow_fonts,
    class_bias,
    faster_rcnn_stride8,
    giou_loss,
)
_installed = False


def install() -> None:
    """Puts the shims in place, once."""
    global _installed
    if _installed:
        return
    if os.environ.get("TF_USE_LEGACY_KERAS") != "1":
        raise UserError("the OD API needs Keras 2: set the environment variable TF_USE_LEGACY_KERAS=1")
    # Deprecations of a package that has no next release, and a home that matplotlib cannot write to: there is nothing
    # a user could do about them.
    for name in ("tensorflow", "matplotlib"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=r".*set_learning_phase.*", category=UserWarning)
    try:
        for shim in SHIMS:
            shim.install()
    except ImportError as error:
        raise UserError(f"the OD API cannot be loaded ({error}); run `make setup`, then `make doctor`") from error
    _installed = True


install()
