"""What a run is to do: its config, its records, and which of them each step takes."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from detect_faces.errors import UserError
from tools import tfrecord_file
from training import records_check
from training.console import say
from training.examples import Examples, example_at
from training.od_api import config_check, inputs, pipeline
from training.od_api.trainer_settings import settings


@dataclass(frozen=True, eq=False)
class Plan:
    """A run before its first step.

    Attributes:
        config: the TrainEvalPipelineConfig, complete.
        examples: what it trains on.
        validation: the records that it evaluates on; None for none.
        fingerprints: of the examples, by their use: "train", "validation" (None: there are none).
    """

    config: object
    examples: Examples
    validation: str | None
    fingerprints: Mapping[str, Mapping | None]

    @property
    def settings(self):
        """What the config says to the trainer alone."""
        return settings(self.config)

    @property
    def steps(self) -> int:
        return self.config.train_config.num_steps

    @property
    def batch_size(self) -> int:
        """Images of a batch, of all devices together."""
        return self.config.train_config.batch_size

    @property
    def images(self) -> int:
        """Images of a step."""
        return self.batch_size * self.settings.accumulate

    def evaluates_at(self, step: int) -> bool:
        """Whether an evaluation is due behind so many steps."""
        every = self.settings.evaluate_every
        return bool(self.validation) and (step == self.steps or bool(every and step % every == 0))

    def batches(
        self, model, strategy: tf.distribute.Strategy, context: tf.distribute.InputContext, step: int
    ) -> tf.data.Dataset:
        """The batches from a step on, of the devices of one worker."""
        share = strategy.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * share
        return self._batches(
            model, step, replicas=range(first, first + share), all_replicas=strategy.num_replicas_in_sync
        )

    def batches_of(self, model, step: int) -> list[tuple[dict, dict]]:
        """The batches of one step, of all devices, whose number counts from 0."""
        return list(self._batches(model, step).take(self.settings.accumulate))

    def places(self, step: int) -> list[str]:
        """Where the images of a step are, whose number counts from 0."""
        taken = range(step * self.images, (step + 1) * self.images)
        numbers = (example_at(position, len(self.examples), self.settings.seed) for position in taken)
        return [self.examples.place(number) for number in numbers]

    def _batches(self, model, step: int, **share) -> tf.data.Dataset:
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


def read(options: argparse.Namespace) -> Plan:
    """The plan of the command's options; says what its config and records have that nobody may have meant.

    Raises:
        UserError: of the config or of the records, with the line or the file that is wrong.
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
    for warning in config_check.check(config, options.pipeline, options.overrides):
        say(f"warning: {warning}")
    validation_shards = tfrecord_file.find_files(options.validation) if options.validation else []
    records_check.check(shards, options.label_map, say)
    if validation_shards:
        records_check.check(validation_shards, options.label_map, say)
    else:
        say("note: without validation records no checkpoint is the best, and training does not stop early")
    examples = Examples(shards)
    fingerprints = {"train": examples.fingerprint(), "validation": None}
    if validation_shards:
        fingerprints["validation"] = Examples(validation_shards).fingerprint()
    return Plan(config, examples, options.validation or None, fingerprints)


def require_shares(plan: Plan, strategy: tf.distribute.Strategy) -> None:
    """Raises UserError where a batch cannot be shared by the devices of a strategy."""
    if plan.batch_size % strategy.num_replicas_in_sync:
        raise UserError(
            f"a batch_size of {plan.batch_size} cannot be shared by {strategy.num_replicas_in_sync} devices"
        )
