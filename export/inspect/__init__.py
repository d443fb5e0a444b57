"""What is in a model file: what it takes and gives, its size, its operations; `python -m export.inspect FILE`."""
