"""Data sets in and out: formats, TFRecord shards, and looking at them. No TensorFlow."""
