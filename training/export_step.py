"""Write the training step of a pipeline down as one file that JAX runs, on devices that have no TensorFlow.

    python -m training.export_step --pipeline ssdlite_mobilenet_v2_320_face --class-from person \\
        --checkpoint checkpoints/ssdlite_mobilenet_v2_coco/model.ckpt --batch 64 --platforms cuda,cpu --output step.zip

The file holds the step (loss, gradients, clipping, Adam, schedule, average of the weights, batch norm), the weights
that it starts from, and how images are to be cropped and coloured. `python -m training.run_step` trains with it;
`python -m training.checkpoints import` brings the weights back. With --set train_config.use_bfloat16=true it computes
in bfloat16; the state is float32 in any case.

The batch size is part of the step. The number of steps is not: run_step takes another.
"""

import argparse
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import tensorflow as tf

from detect_faces.errors import EXIT_OK, UserError, run_command
from training import augmentation, devices, phases, run_record, start, step_file, step_state
from training.augmentation import COLOURS, FLIP
from training.console import say
from training.jax_step import Rule, make
from training.od_api import config_check, optimizer, overrides, pipeline, to_jax
from training.od_api import model as detection_model
from training.od_api.trainer_settings import settings

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
BOXES = 200  # of an image, where the config allows more


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    config = pipeline.complete(
        pipeline.load(options.pipeline, options.overrides),
        records=[],
        label_map="",
        checkpoint=options.checkpoint,
        steps=options.steps,
        batch_size=options.batch,
    )
    for found in config_check.findings(config, options.pipeline, options.overrides):
        if found.level == "error":
            raise UserError(str(found))
        say(f"warning: {found}")
    if missing := next(unsupported(config), None):
        raise UserError(f"{options.pipeline}: {missing}")
    with devices.mixed_precision(config.train_config.use_bfloat16):
        model, restored = start.build(config, options, seed=settings(config).seed, continued=False)
    contents = exported(config, model, platforms=options.platforms, boxes=options.boxes, restored=str(restored or ""))
    step_file.write(options.output, contents)
    size = options.output.stat().st_size
    described = contents.description
    say(
        f"{options.output}: {size / 1e6:.1f} MB, a step of {described.batch_size} images of {described.width} x "
        f"{described.height} in {described.compute}, for {', '.join(described.platforms)}"
    )
    say(f"next: python -m training.run_step {options.output} --records ... --steps N --output weights.npz")
    return EXIT_OK


def unsupported(config) -> Iterator[str]:
    """What of a config an exported step cannot do, in the order of the config; each says what to do about it."""
    train, chosen = config.train_config, settings(config)
    if (architecture := pipeline.meta_architecture(config)) != "ssd":
        yield f"model.{architecture} is not exported: its shapes change with each image; train it with training.train"
        return
    resizer = config.model.ssd.image_resizer.WhichOneof("image_resizer_oneof")
    fixed = resizer == "fixed_shape_resizer" or (
        resizer == "keep_aspect_ratio_resizer" and config.model.ssd.image_resizer.keep_aspect_ratio_resizer
    )
    if not fixed or (resizer != "fixed_shape_resizer" and not _is_square_letterbox(fixed)):
        yield (
            f"model.ssd.image_resizer.{resizer} gives images of several sizes, or turns them; an exported step takes "
            "fixed_shape_resizer, or keep_aspect_ratio_resizer to a square with pad_to_max_dimension: true"
        )
    if config.model.ssd.loss.HasField("hard_example_miner"):
        yield "model.ssd.loss.hard_example_miner is not exported; use weighted_sigmoid_focal"
    if (name := train.optimizer.WhichOneof("optimizer")) != "adam_optimizer":
        yield f"train_config.optimizer.{name} is not exported; give adam_optimizer"
    else:
        rate = train.optimizer.adam_optimizer.learning_rate.WhichOneof("learning_rate")
        if rate not in ("cosine_decay_learning_rate", "constant_learning_rate"):
            yield (
                f"train_config.optimizer.adam_optimizer.learning_rate.{rate} is not exported; give "
                "cosine_decay_learning_rate or constant_learning_rate"
            )
    for number, option in enumerate(train.data_augmentation_options):
        name = option.WhichOneof("preprocessing_step")
        if name != FLIP and name not in COLOURS:
            yield (
                f"train_config.data_augmentation_options[{number}].{name} is not exported; leave it out (--set "
                f"'train_config.data_augmentation_options[{number}]='), or give one of {', '.join((FLIP, *COLOURS))}"
            )
    if chosen.accumulate > 1:
        yield "trainer.accumulate is not exported; give a larger --batch"
    if chosen.head_only_steps:
        yield "trainer.head_only_steps is not exported; leave it out (--set trainer.head_only_steps=0)"


def exported(config, model, *, platforms: Sequence[str], boxes: int = BOXES, restored: str = "") -> step_file.StepFile:
    """The step of a config, starting from the variables that a model has now.

    Args:
        config: complete, with what the command line says.
        model: built for training from it, with its start values.
        platforms: to lower it for, of PLATFORMS.
        boxes: of an image, with the padding; not more than the config's max_number_of_boxes.
        restored: where the start values come from, in words.

    Raises:
        UserError: the model has operations that cannot be converted.
    """
    import jax
    from jax import export

    train, chosen, ssd = config.train_config, settings(config), config.model.ssd
    boxes = min(boxes, config.train_input_reader.max_number_of_boxes)
    size = _input_size(ssd.image_resizer)
    trained = phases.trained_by(config, model)
    phases.BatchNormModes(model).follow(trained)
    detection_model.set_training(True)
    anchors = model.anchors.get().numpy()  # those of the eager prediction that built the model; tracing replaces them
    loss, specs = to_jax.converted_loss(
        model, batch_size=train.batch_size, input_size=size, boxes=boxes, classes=ssd.num_classes
    )
    variables = {name: variable.numpy() for name, variable in to_jax.names(model).items()}
    is_trained = {variable.ref() for variable in trained}
    chosen_names = [name for name, variable in to_jax.names(model).items() if variable.ref() in is_trained]
    state = step_state.initial_state(variables, chosen_names)
    rule, steps = rule_of(config), _schedule_of(train)
    shapes = jax.tree.map(lambda value: jax.ShapeDtypeStruct(value.shape, value.dtype), state)
    batch = [jax.ShapeDtypeStruct(spec.shape.as_list(), "float32") for spec in specs]
    schedule = jax.ShapeDtypeStruct([2], "float32")
    step = export.export(jax.jit(make(loss, rule)), platforms=list(platforms))(shapes, schedule, *batch)
    description = step_file.Description(
        platforms=list(platforms),
        batch_size=train.batch_size,
        height=size[0],
        width=size[1],
        boxes=boxes,
        classes=ssd.num_classes,
        trained=chosen_names,
        inputs=_inputs(specs),
        normalisation=detection_model.normalise(model, tf.constant([0.0, 255.0])),
        compute="bfloat16" if train.use_bfloat16 else "float32",
        steps=train.num_steps,
        total_steps=steps[0],
        warmup_steps=steps[1],
        rule=vars(rule),
        seed=chosen.seed,
        save_every=chosen.save_every,
        letterbox=ssd.image_resizer.HasField("keep_aspect_ratio_resizer"),
        face_crop=augmentation.fields(chosen.face_crop) if chosen.HasField("face_crop") else None,
        smallest_face=chosen.smallest_face,
        augmentation=list(map(augmentation.described, train.data_augmentation_options)),
        restored=restored,
        versions=run_record.versions() | {name: metadata.version(name) for name in ("jax", "jaxlib", "tf2jax")},
    )
    return step_file.StepFile(description, pipeline.text(config), step.serialize(), state, anchors)


def rule_of(config) -> Rule:
    """How a config changes the weights."""
    adam = config.train_config.optimizer.adam_optimizer
    common = {
        "epsilon": adam.epsilon,
        "clip": config.train_config.gradient_clipping_by_norm,
        "average_decay": optimizer.average_decay(config),
    }
    if not adam.learning_rate.HasField("cosine_decay_learning_rate"):
        return Rule(adam.learning_rate.constant_learning_rate.learning_rate, cosine=False, **common)
    cosine = adam.learning_rate.cosine_decay_learning_rate
    return Rule(cosine.learning_rate_base, cosine.warmup_learning_rate, cosine.hold_base_rate_steps, **common)


def _schedule_of(train) -> tuple[int, int]:
    """(total steps, steps of warm-up)."""
    rate = train.optimizer.adam_optimizer.learning_rate
    if not rate.HasField("cosine_decay_learning_rate"):
        return train.num_steps, 0
    return rate.cosine_decay_learning_rate.total_steps, rate.cosine_decay_learning_rate.warmup_steps


def _is_square_letterbox(resizer) -> bool:
    return resizer.pad_to_max_dimension and resizer.min_dimension == resizer.max_dimension


def _input_size(resizer) -> tuple[int, int]:
    """(height, width) that a resizer of `unsupported`'s liking gives."""
    if resizer.HasField("fixed_shape_resizer"):
        return resizer.fixed_shape_resizer.height, resizer.fixed_shape_resizer.width
    return (resizer.keep_aspect_ratio_resizer.max_dimension,) * 2


def _inputs(specs: Sequence[tf.TensorSpec]) -> list[dict]:
    what = {
        "schedule": "steps of the schedule, and of its warm-up",
        "images": "RGB in 0..255",
        "boxes": "yxyx in 0..1, padded with zeros",
        "classes": "one-hot, padded with zeros",
        "weights": "0: does not count; 0 for the padding",
    }
    shapes = {"schedule": [2]} | {spec.name: spec.shape.as_list() for spec in specs}
    return [{"name": name, "shape": shape, "dtype": "float32", "what": what[name]} for name, shape in shapes.items()]


def _platforms(text: str) -> list[str]:
    names = text.split(",")
    if wrong := [name for name in names if name not in PLATFORMS]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(PLATFORMS)}; separate several by commas")
    return list(dict.fromkeys(names))


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.export_step", description=__doc__.splitlines()[0])
    parser.add_argument("--pipeline", required=True, help="a name in pipelines/ or the path of a pipeline.config")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the step.zip to write")
    parser.add_argument("--batch", type=int, metavar="N", help="images of a step, in place of the config's batch_size")
    parser.add_argument("--steps", type=int, metavar="N", help="of the schedule, in place of the config's num_steps")
    parser.add_argument(
        "--platforms",
        type=_platforms,
        default=["cuda", "cpu"],
        metavar="NAME,...",
        help=f"to run on: of {', '.join(PLATFORMS)} [cuda,cpu]",
    )
    parser.add_argument(
        "--boxes",
        type=int,
        default=BOXES,
        metavar="N",
        help="faces of an image at most; of more, the largest that count are taken [%(default)s]",
    )
    overrides.add_option(parser)
    start.add_options(parser)
    options = parser.parse_args(argv)
    for name in ("batch", "steps", "boxes"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name} has to be 1 or more")
    return options


if __name__ == "__main__":
    run_command(main)
