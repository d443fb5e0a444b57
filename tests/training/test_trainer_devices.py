"""Devices and workers of a training run: together they make the steps of one, and stop together."""

import json
import socket
from pathlib import Path

import pytest

from detect_faces.errors import UserError
from tests.training.tiny_runs import assert_close, ended, state, weights
from training import devices

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

# Batch norm looks at each batch by itself, dropout draws for each; Adam makes a step of any size of a rounding error.
SGD = (
    "momentum_optimizer {learning_rate {constant_learning_rate {learning_rate: 0.01}}} "
    "use_moving_average: true moving_average_decay: 0.9"
)
FROZEN = (
    *("--set", "model.ssd.freeze_batchnorm=true", "--set", f"train_config.optimizer={{{SGD}}}"),
    *("--set", "model.ssd.box_predictor.convolutional_box_predictor.use_dropout=false", "--steps", "3"),
)


@pytest.fixture(scope="module")
def frozen(shared) -> Path:
    """Three steps of four images on one device, of layers that add up over batches and devices."""
    return shared("frozen", *FROZEN, validation=False)


def test_accumulated_batches_are_one_large_batch(frozen, start):
    added = start("added", "--batch-size", "1", "--set", "trainer.accumulate=4", *FROZEN, validation=False)
    assert_close(weights(frozen), weights(added), 1e-5)


def test_two_devices_are_one(frozen, begin, tmp_path):
    # and one replica adds up what the other does
    more = ("--devices", "2", "--batch-size", "2", "--set", "trainer.accumulate=2")
    codes, _ = ended(begin("devices", *FROZEN, *more, validation=False))
    assert codes == [0]
    assert_close(weights(frozen), weights(tmp_path / "devices"), 1e-5)


def test_two_workers_are_one_and_stop_together(frozen, begin, tmp_path):
    def workers(**signal_at):
        with socket.socket() as one, socket.socket() as other:
            for each in (one, other):
                each.bind(("localhost", 0))
            cluster = {"worker": [f"localhost:{each.getsockname()[1]}" for each in (one, other)]}
        for index in range(2):
            task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            more = {"SIGNAL_AT": signal_at[f"worker_{index}"]} if f"worker_{index}" in signal_at else {}
            save = ("--set", "trainer.save_every=1")
            yield begin("workers", *FROZEN, *save, validation=False, TF_CONFIG=json.dumps(task), **more)

    codes, said = ended(*workers(worker_0="2 9"))  # killed before its second step was saved
    assert codes == [-9, 2] and "\nerror: another worker is gone, and may say why (" in said[1]
    assert "Traceback" not in said[1]
    codes, said = ended(*workers(worker_1="3 2"))  # Ctrl-C on one of them, behind the last step
    assert codes == [130, 130]
    assert all("stopped at step 3; the same command goes on from there\n" in text for text in said)
    assert_close(state(frozen), state(tmp_path / "workers"), 1e-5)


def test_a_cluster_of_other_machines_is_refused(monkeypatch):
    cluster = {"chief": ["a:1"], "worker": ["b:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}}))
    with pytest.raises(UserError, match="the cluster has chief; here all machines are workers"):
        devices.workers()
