"""From a trained checkpoint to a frozen graph, a SavedModel and a TFLite model, and running these."""

import training  # noqa: F401  sets Keras 2 before TensorFlow is imported
