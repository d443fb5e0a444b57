"""Fine-tune a detector: a pipeline config, records and a start checkpoint in, a run folder with weights out.

    make train                                              # SSDLite on the sample set, run "demo"
    make train DATASET=wider_face RUN=wider STEPS=2000
    python -m training.train --pipeline ssdlite_mobilenet_v2_320_face --records data/records/sample/train \\
        --checkpoint checkpoints/ssdlite_mobilenet_v2_coco/model.ckpt --run runs/demo --steps 300

The run folder holds the pipeline.config as it was run, `ckpt-*` (the state of training, from which the same command
goes on after a kill), `train/` for TensorBoard, and at the end `weights/ckpt-*`: the averaged weights with batch norm
statistics measured for them, which evaluation and export take.
"""

import argparse
import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from detect_faces.errors import EXIT_INTERRUPTED, EXIT_OK, UserError, run_command
from tools import label_map, tfrecord_file
from tools.files import only_writer
from training import batch_norm, run_folder, start
from training.od_api import inputs, optimizer, pipeline
from training.od_api import model as detection_model

LOG_EVERY = 10  # steps between points in TensorBoard
TALK_EVERY = 15.0  # seconds between lines where there is no terminal for a progress bar
MEASURED_BATCHES = 24  # for batch norm; at 24 images a batch the statistics of 576 images


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)

    # ---- What is to be run ----------------------------------------------------------------------------------------
    shards = tfrecord_file.find_files(options.records)
    config = pipeline.complete(
        pipeline.load(options.pipeline),
        records=[str(shard) for shard in shards],
        label_map=options.label_map,
        checkpoint=options.checkpoint,
        steps=options.steps,
        batch_size=options.batch_size,
    )
    classes = label_map.read(options.label_map)
    if len(classes) != pipeline.num_classes(config):
        raise UserError(
            f"{options.label_map} has {len(classes)} classes, {options.pipeline} num_classes: "
            f"{pipeline.num_classes(config)}; they have to be the same"
        )
    images = sum(tfrecord_file.count_records(shard) for shard in shards)
    if not images:
        raise UserError(f"{options.records}: the records hold no image; run `make data` again")
    reader = config.train_input_reader
    # The records repeat: a buffer for more than there are would hold copies.
    reader.shuffle_buffer_size = min(reader.shuffle_buffer_size, images)
    run = options.run
    run_folder.check_config(run, pipeline.text(config))
    steps, batch_size = config.train_config.num_steps, config.train_config.batch_size
    if (done := run_folder.finished_steps(run)) is not None and done >= steps:
        say(f"{run} has its {done} steps and its weights; nothing to do (more STEPS= goes on from there)")
        return EXIT_OK

    # ---- The model and where it starts ----------------------------------------------------------------------------
    # a run goes on from its own state
    continued = tf.train.latest_checkpoint(str(run)) is not None
    model = start.build(config, options, seed=options.seed, continued=continued)
    run_folder.write_config(run, pipeline.text(config))
    only_one = ExitStack()  # until the process ends
    only_one.enter_context(only_writer(run))
    say(f"{images} images, {steps} steps of {batch_size}: {steps * batch_size / images:.1f} epochs; run folder {run}")

    # ---- The state of training, and what an earlier start left of it ------------------------------------------------
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    optimise, learning_rate = optimizer.build(config, step)
    average = tf.train.ExponentialMovingAverage(optimizer.average_decay(config), num_updates=step)
    average.apply(model.trainable_variables)
    averages = [average.average(variable) for variable in model.trainable_variables]
    state = tf.train.Checkpoint(step=step, model=model, optimizer=optimise, averages=averages)
    # A checkpoint is written under its own name first and the file `checkpoint` made to point to it afterwards:
    # whenever the process is killed, the pointer names a whole one.
    manager = tf.train.CheckpointManager(state, str(run), max_to_keep=2)
    if run_folder.resume(state, manager):
        say(f"going on from step {int(step)}")

    # ---- Steps ----------------------------------------------------------------------------------------------------
    detection_model.set_training(True)
    batches = iter(inputs.training_batches(config, model, seed=options.seed + int(step)))
    clip = config.train_config.gradient_clipping_by_norm

    # With the signature of the data set, images of different sizes (of a two-stage model) share one trace.
    @tf.function(input_signature=batches.element_spec)
    def train_step(features, labels):
        with tf.GradientTape() as tape:
            losses = detection_model.losses(model, features, labels)
        gradients = tape.gradient(losses["total"], model.trainable_variables)
        if clip:
            gradients, _ = tf.clip_by_global_norm(gradients, clip)
        optimise.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        average.apply(model.trainable_variables)
        step.assign_add(1)
        return losses

    writer = tf.summary.create_file_writer(str(run / "train"))
    progress = Progress(int(step), steps, batch_size)
    try:
        while int(step) < steps:
            features, labels = next(batches)
            if int(step) == 0:
                with writer.as_default(step=0):
                    tf.summary.image("inputs", inputs.drawn(features, labels), max_outputs=8)
            losses = {name: float(loss) for name, loss in train_step(features, labels).items()}
            done = int(step)
            if not all(map(tf.math.is_finite, losses.values())):
                raise UserError(
                    f"step {done}: the loss is not finite ({losses}); lower learning_rate_base in a copy of "
                    f"{options.pipeline}, and give it as PIPELINE= with another RUN="
                )
            progress.update(done, losses)
            if done % LOG_EVERY == 0:
                with writer.as_default(step=done):
                    for name, loss in losses.items():
                        tf.summary.scalar(f"loss/{name}", loss)
                    tf.summary.scalar("learning_rate", learning_rate())
                    tf.summary.scalar("images_per_second", progress.images_per_second)
            if done % options.save_every == 0 or done == steps:
                manager.save(checkpoint_number=done)
    except KeyboardInterrupt:
        progress.close()
        if int(step) == 0:
            say("stopped before the first step; nothing to keep")
        else:
            manager.save(checkpoint_number=int(step))
            say(f"stopped at step {int(step)}; the same command goes on from there")
        return EXIT_INTERRUPTED
    progress.close()

    # ---- Weights for use ------------------------------------------------------------------------------------------
    for variable, averaged in zip(model.trainable_variables, averages, strict=True):
        variable.assign(averaged)
    say(f"batch norm statistics of the averaged weights, on {MEASURED_BATCHES} batches")
    measured = (next(batches)[0] for _ in range(MEASURED_BATCHES))
    layers = batch_norm.reestimate(
        model,
        ((features[inputs.IMAGE], features[inputs.TRUE_SHAPE]) for features in measured),
        lambda batch: model.predict(*batch),
    )
    say(f"measured {layers} layers" if layers else "the config freezes batch norm: nothing to measure")
    saved = run_folder.save_weights(run, model, int(step))
    print(saved)
    say(f"next: make eval RUN={run.name}, make export RUN={run.name}; curves: tensorboard --logdir {run}")
    return EXIT_OK


class Progress:
    """Says how far training is: a bar on a terminal, elsewhere a line now and then."""

    def __init__(self, done: int, steps: int, batch_size: int):
        self.first, self.steps, self.batch_size = done, steps, batch_size
        self.started = self.spoke = None
        self.images_per_second = 0.0
        self.bar = tqdm(total=steps, initial=done, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True)

    def update(self, done: int, losses: dict[str, float]) -> None:
        now = time.monotonic()
        if self.started is None:  # the first step is mostly tracing
            self.started = self.spoke = now
            self.first = done
        else:
            self.images_per_second = (done - self.first) * self.batch_size / (now - self.started)
        self.bar.update(1)
        self.bar.set_postfix_str(f"loss {losses['total']:.3f}, {self.images_per_second:.3g} images/s")
        if self.bar.disable and (now - self.spoke >= TALK_EVERY or done == self.steps):
            self.spoke = now
            left = (now - self.started) / max(done - self.first, 1) * (self.steps - done)
            parts = ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items() if name != "total")
            say(
                f"step {done}/{self.steps}  loss {losses['total']:.3f} ({parts})  "
                f"{self.images_per_second:.3g} images/s  {timedelta(seconds=round(left))} left"
            )

    def close(self) -> None:
        self.bar.close()


def say(message: object) -> None:
    print(message, file=sys.stderr, flush=True)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__.splitlines()[0])
    parser.add_argument("--pipeline", required=True, help="a name in pipelines/ or the path of a pipeline.config")
    parser.add_argument("--records", required=True, help="the training records: folder, file, glob or prefix@N")
    parser.add_argument("--label-map", type=Path, default=Path("data/label_map.pbtxt"))
    start.add_options(parser)
    parser.add_argument("--run", required=True, type=Path, help="run folder, such as runs/demo")
    parser.add_argument("--steps", type=int, help="in place of the config's num_steps")
    parser.add_argument("--batch-size", type=int, help="in place of the config's batch_size")
    parser.add_argument("--save-every", type=int, default=100, help="steps between checkpoints (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the initial values and the augmentation (%(default)s)")
    options = parser.parse_args(argv)
    for name in ("batch_size", "save_every"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} has to be 1 or more")
    if options.steps is not None and options.steps < 0:
        parser.error("--steps has to be 0 or more")
    return options


if __name__ == "__main__":
    run_command(main)
