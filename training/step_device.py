"""An exported step on the devices that JAX finds: compiled once, its state kept there, each batch shared by them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from detect_faces.errors import UserError
from training.step_file import StepFile


class StepDevice:
    """Makes steps.

    Attributes:
        name: of the devices, in words.
    """

    def __init__(self, contents: StepFile, path: Path, colours: Sequence[Mapping], count: int = 1):
        """Prepares the step; it is compiled when it is first made.

        Args:
            contents: the step file.
            path: where it was read, for messages.
            colours: the changes of colour before each step, of `training.colour`.
            count: devices that share each batch. The step is compiled for all of them as one: it computes what one
                device would, batch norm over the whole batch included.

        Raises:
            UserError: there is no JAX, or no such devices, or the step is not for them, or of another version of JAX.
        """
        try:
            import jax
            from jax.sharding import Mesh, NamedSharding, PartitionSpec

            from training import colour
        except ImportError as error:
            raise UserError(
                f"JAX cannot be loaded ({error}); pip install 'jax[cuda12]', or what docs.jax.dev says for your device"
            ) from error
        devices = _devices(contents, path, count)
        try:
            exported = jax.export.deserialize(bytearray(contents.step))
        except Exception as error:  # whatever one version of JAX finds wrong with what another one wrote
            raise UserError(
                f"{path}: JAX {jax.__version__} cannot read a step that {contents.description.versions.get('jax')} "
                f"wrote ({_first_line(error)}); install that version, or export the step again"
            ) from error
        mesh = Mesh(np.array(devices), ("batch",))
        self._whole, self._shared = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))

        def step(state, schedule, images, boxes, classes, weights, amounts):
            return exported.call(state, schedule, colour.apply(colours, images, amounts), boxes, classes, weights)

        self._jax, self._step = jax, jax.jit(step, donate_argnums=0)
        kind = getattr(devices[0], "device_kind", devices[0].platform)
        self.name = f"{count} x {kind}" if count > 1 else kind

    def put(self, state: Mapping) -> dict:
        """A state on the devices."""
        return self._jax.device_put(state, self._whole)

    def get(self, state: Mapping) -> dict:
        """A state of the devices as numpy arrays; waits for it."""
        return self._jax.tree.map(np.asarray, state)

    def __call__(self, state: dict, schedule: np.ndarray, batch: tuple[np.ndarray, ...]) -> tuple[dict, dict]:
        """Makes a step, without waiting for it: the new state, and the losses. The old state is used up.

        Args:
            state: of `put`, or of the step before.
            schedule: (2,) float32: the steps of all, and of the warm-up.
            batch: of `training.step_batches.StepBatches`.
        """
        return self._step(
            state, self._jax.device_put(schedule, self._whole), *self._jax.device_put(batch, self._shared)
        )

    def operations(self, state: dict, schedule: np.ndarray, batch: tuple[np.ndarray, ...]) -> float:
        """Floating point operations of a step, as XLA counts them; 0 where it doesn't. Compiles the step."""
        cost = self._step.lower(state, schedule, *batch).compile().cost_analysis()
        return float((cost or {}).get("flops", 0.0))


def _devices(contents: StepFile, path: Path, count: int) -> list:
    import jax

    described = contents.description
    try:
        found = jax.devices()
    except RuntimeError as error:
        raise UserError(f"JAX finds no device to run on ({_first_line(error)})") from error
    platform = _platform(found[0])
    if platform not in described.platforms:
        raise UserError(
            f"{path}: exported for {', '.join(described.platforms)}, and JAX finds {platform} here; export it with "
            f"--platforms {','.join([*described.platforms, platform])}, or install JAX for the other device"
        )
    if len(found) < count:
        raise UserError(f"--devices {count}: JAX finds {len(found)} here")
    if described.batch_size % count:
        raise UserError(f"--devices {count}: a batch of {described.batch_size} cannot be shared by so many")
    return found[:count]


def _platform(device) -> str:
    """Of a device, as jax.export names it."""
    if device.platform != "gpu":
        return device.platform
    return "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
