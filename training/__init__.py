"""Fine-tuning with the TensorFlow Object Detection API: checkpoints, training, detections of a checkpoint."""

import os

# The OD API is written for Keras 2. TensorFlow decides which Keras is `tf.keras` when it is imported, so this stands
# where every module of this room comes through before.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# TensorFlow's C++ start-up talk (no CUDA, which CPU instructions); what really fails arrives as a Python exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
