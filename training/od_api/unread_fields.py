"""Fields of a pipeline config that the OD API's own loop reads and nothing here does; what is done in their place."""

from collections.abc import Iterator

from object_detection.protos.pipeline_pb2 import TrainEvalPipelineConfig

_BY_NUMBER = "records are read by number, several at once, ahead of the step"
_PERMUTED = "each pass over the records takes them in an order of its own, all of them shuffled"
_OF_TENSORFLOW_1 = "it belongs to TensorFlow 1's training; --devices and TF_CONFIG say what computes"
_OF_CHECKPOINTS = "--map, --class-from and --reinitialise say what of a checkpoint is taken"

# The value that asks for what is done here anyway (None: there is none), and what that is.
READER: dict[str, tuple[object, str]] = {
    "shuffle": (True, _PERMUTED),
    "shuffle_buffer_size": (None, _PERMUTED),
    "filenames_shuffle_buffer_size": (None, _PERMUTED),
    "num_epochs": (0, "train_config.num_steps says how long training takes"),
    "sample_1_of_n_examples": (1, "all records are taken; give --records some of the shards"),
    "sample_from_datasets_weights": (None, "all records count alike"),
    "num_readers": (None, _BY_NUMBER),
    "num_parallel_batches": (None, _BY_NUMBER),
    "num_parallel_map_calls": (None, _BY_NUMBER),
    "num_prefetch_batches": (None, _BY_NUMBER),
    "prefetch_size": (None, _BY_NUMBER),
    "read_block_length": (None, _BY_NUMBER),
    "queue_capacity": (None, _BY_NUMBER),
    "min_after_dequeue": (None, _BY_NUMBER),
}
TRAIN: dict[str, tuple[object, str]] = {
    "keep_checkpoint_every_n_hours": (None, "the last two states of training are kept, and the best weights"),
    "sync_replicas": (None, _OF_TENSORFLOW_1),
    "replicas_to_aggregate": (None, _OF_TENSORFLOW_1),
    "startup_delay_steps": (None, _OF_TENSORFLOW_1),
    "batch_queue_capacity": (None, _BY_NUMBER),
    "num_batch_queue_threads": (None, _BY_NUMBER),
    "prefetch_queue_capacity": (None, _BY_NUMBER),
    "from_detection_checkpoint": (True, _OF_CHECKPOINTS),
    "load_all_detection_checkpoint_vars": (None, _OF_CHECKPOINTS),
    "unpad_groundtruth_tensors": (True, "boxes that only fill up a batch never count"),
    "summarize_gradients": (None, "the norm of the gradients is in the log as gradient_norm"),
}


def unread(config: TrainEvalPipelineConfig) -> Iterator[tuple[str, str]]:
    """The fields that a config sets to something else than what is done here: each, and what is wrong with it."""
    parts = (("train_input_reader", config.train_input_reader, READER), ("train_config", config.train_config, TRAIN))
    for prefix, message, known in parts:
        for field, value in message.ListFields():  # those that are set
            done, instead = known.get(field.name, (value, ""))
            if value != done:
                yield f"{prefix}.{field.name}", f"has no effect here: {instead}"
