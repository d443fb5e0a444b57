"""What a run is to do: its config, its records, and which of them each step takes."""

import argparse
import copy
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf
from google.protobuf.message import Message

from detect_faces.errors import UserError
from tools import tfrecord_file
from training import records_check, run_folder
from training.console import say
from training.examples import Examples, example_at
from training.od_api import config_check, inputs, pipeline
from training.od_api.trainer_settings import settings


@dataclass(frozen=True, eq=False)
class Job:
    """What a run is to do.

    Attributes:
        config: a TrainEvalPipelineConfig, complete with what the command line says.
        examples: what it trains on.
        validation: the records that it evaluates on; None for none.
        fingerprints: of the examples, by their use: "train", "validation" (None: there are none).
    """

    config: Message
    examples: Examples
    validation: str | None
    fingerprints: Mapping[str, Mapping | None]

    @property
    def settings(self) -> Message:
        """What the config says to the trainer alone."""
        return settings(self.config)

    @property
    def steps(self) -> int:
        """How many there are to be in the end, those before a kill included."""
        return self.config.train_config.num_steps

    @property
    def batch_size(self) -> int:
        """Images of a batch, of all devices together."""
        return self.config.train_config.batch_size

    @property
    def images_per_step(self) -> int:
        """Those of all batches whose gradients a step adds up."""
        return self.batch_size * self.settings.accumulate

    def evaluates_at(self, step: int) -> bool:
        """Whether an evaluation is due behind so many steps."""
        if not self.validation:
            return False
        every = self.settings.evaluate_every
        return step == self.steps or (every > 0 and step % every == 0)

    def batches_from(
        self, step: int, model, strategy: tf.distribute.Strategy, context: tf.distribute.InputContext
    ) -> tf.data.Dataset:
        """The batches of all steps from one on, of the devices of one worker."""
        share = strategy.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * share
        return self._batches(
            step, model, replicas=range(first, first + share), all_replicas=strategy.num_replicas_in_sync
        )

    def batches_of(self, step: int, model) -> list[tuple[dict, dict]]:
        """The batches of one step, of all devices. (Steps are numbered from 0.)"""
        return list(self._batches(step, model).take(self.settings.accumulate))

    def places(self, step: int) -> list[str]:
        """Where the images of a step are: the file and number of each record."""
        taken = range(step * self.images_per_step, (step + 1) * self.images_per_step)
        numbers = (example_at(position, len(self.examples), self.settings.seed) for position in taken)
        return [self.examples.place(number) for number in numbers]

    def require_shares(self, strategy: tf.distribute.Strategy) -> None:
        """Raises UserError where a batch cannot be shared by the devices of a strategy."""
        devices = strategy.num_replicas_in_sync
        if self.batch_size % devices:
            raise UserError(f"a batch_size of {self.batch_size} cannot be shared by {devices} devices")

    def _batches(self, step: int, model, **share) -> tf.data.Dataset:
        return inputs.training_batches(
            self.config,
            model,
            self.examples,
            seed=self.settings.seed,
            batch_size=self.batch_size,
            step=step,
            accumulate=self.settings.accumulate,
            **share,
        )


def read(options: argparse.Namespace) -> Job:
    """The job that the command line describes, once its config and all of its records have been looked through.

    What is doubtful in them is said.

    Raises:
        UserError: something in them is wrong; with the line or the file.
    """
    shards = tfrecord_file.find_files(options.records)
    config = pipeline.complete(
        pipeline.load(options.pipeline, options.overrides),
        records=[str(shard) for shard in shards],
        label_map=options.label_map,
        checkpoint=options.checkpoint,
        steps=options.steps,
        batch_size=options.batch_size,
    )
    checked = config
    if run_folder.newest_state(options.run):  # where it started from may be gone since, and isn't needed any more
        checked = copy.deepcopy(config)
        checked.train_config.ClearField("fine_tune_checkpoint")
    for warning in config_check.check(checked, options.pipeline, options.overrides):
        say(f"warning: {warning}")
    validation_shards = tfrecord_file.find_files(options.validation) if options.validation else []
    records_check.check(shards, options.label_map, say)
    examples = Examples(shards)
    fingerprints = {"train": examples.fingerprint(), "validation": None}
    if validation_shards:
        records_check.check(validation_shards, options.label_map, say)
        fingerprints["validation"] = Examples(validation_shards).fingerprint()
    else:
        say("note: without validation records no checkpoint is the best, and training does not stop early")
    return Job(config, examples, options.validation or None, fingerprints)
