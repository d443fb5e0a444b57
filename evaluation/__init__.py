"""How good a detector is, and against others: from annotations and detections. No TensorFlow."""
