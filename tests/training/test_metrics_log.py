"""metrics.jsonl: lines that are kept, cut off when a run goes on, and torn by a kill at any byte."""

import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detect_faces.errors import UserError
from training import metrics_log
from training.metrics_log import MetricsLog

ROOT = Path(__file__).parents[2]


def steps(path: Path) -> list[int]:
    return [record["step"] for record in metrics_log.read(path)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / metrics_log.FILE


@pytest.fixture
def written(path):
    with MetricsLog(path, step=0) as log:
        for step in (0, 10, 20, 30):
            log.write(step, {"loss/total": 1 / (step + 1)})
    return path


def test_lines_are_json_with_step_and_time(path):
    with MetricsLog(path, step=0) as log:
        log.write(10, {"loss/total": np.float32(0.5), "AP50": None, "AP": float("nan"), "images": 240})
        assert steps(path) == [10]  # it is there before the file is closed
    (line,) = path.read_text().splitlines()
    record = json.loads(line, parse_constant=pytest.fail)
    assert list(record) == ["step", "time", "loss/total", "AP50", "AP", "images"]
    assert [record[name] for name in ("step", "loss/total", "AP50", "AP", "images")] == [10, 0.5, None, None, 240]
    assert datetime.fromisoformat(record["time"]).utcoffset().total_seconds() == 0
    assert metrics_log.read(path) == [record]


def test_no_file_is_no_lines(path):
    assert metrics_log.read(path) == []


@pytest.mark.parametrize("step, left", [(-1, []), (0, [0]), (9, [0]), (10, [0, 10]), (30, [0, 10, 20, 30]), (99, None)])
def test_lines_after_the_step_it_goes_on_from_are_cut_off(written, step, left):
    before = written.read_bytes()
    with MetricsLog(written, step=step) as log:
        assert steps(written) == ([0, 10, 20, 30] if left is None else left)
        assert before.startswith(written.read_bytes())
        log.write(100, {"loss/total": 2.0})
    assert steps(written)[-1] == 100
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_a_step_has_one_line(written):
    with MetricsLog(written, step=20) as log:
        for step in (20, 5):
            with pytest.raises(ValueError, match=f"step {step} comes after 20"):
                log.write(step, {})
        log.write(21, {})
        with pytest.raises(ValueError, match="step 21 comes after 21"):
            log.write(21, {})
    assert steps(written) == [0, 10, 20, 21]


@settings(deadline=None, max_examples=50)
@given(
    gaps=st.lists(st.integers(1, 50), max_size=8),
    value=st.floats(),
    cut=st.floats(0, 1),
    resume=st.integers(0, 200),
)
def test_a_kill_at_any_byte(tmp_path_factory, gaps, value, cut, resume):
    """What is read is what was written whole; a run goes on from there, and no step is there twice."""
    path = tmp_path_factory.mktemp("log") / metrics_log.FILE
    at = 0
    with MetricsLog(path, step=0) as log:
        for gap in gaps:
            at += gap
            log.write(at, {"loss/total": value, "Gr\u00f6\u00dfe": 1})
    whole, data = metrics_log.read(path), path.read_bytes()
    assert [record["step"] for record in whole] == list(np.cumsum(gaps))
    data = data[: round(cut * len(data))]
    path.write_bytes(data)

    # a line counts once its closing brace is there
    left = whole[: data.count(b"}")]
    assert metrics_log.read(path) == left
    with MetricsLog(path, step=resume) as log:
        kept = [record for record in left if record["step"] <= resume]
        assert metrics_log.read(path) == kept
        log.write(resume + 1, {"loss/total": 1.0})
    assert metrics_log.read(path)[:-1] == kept and steps(path)[-1] == resume + 1


def test_a_real_kill_leaves_what_was_written(path):
    """The process gets SIGKILL after its third line, in the middle of the work."""
    code = (
        "import os, signal; from pathlib import Path; from training.metrics_log import MetricsLog\n"
        f"log = MetricsLog(Path({str(path)!r}), step=0)\n"
        "for step in (1, 2, 3): log.write(step, {'loss/total': 1.0})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert steps(path) == [1, 2, 3]


@pytest.mark.parametrize(
    "old, new, message",
    [
        (b'{"step": 10', b'{"step" 10', "line 2: is not a line of metrics"),
        (b'{"step": 10', b'{"stop": 10', "line 2: is not"),
        (b'{"step": 10', b"\xff", "line 2: is not"),
        (b'{"step": 10', b'[1]\n{"step": 10', "line 2: is not"),
        (b'{"step": 20', b'{"step": 10', "line 3: comes after step 10"),
        (b'{"step": 20', b'{"step": 5', "line 3: comes after step 10"),
    ],
)
def test_damage_that_no_kill_does_is_named(written, old, new, message):
    data = written.read_bytes()
    assert old in data
    written.write_bytes(data.replace(old, new))
    for use in (metrics_log.read, lambda path: MetricsLog(path, step=30)):
        with pytest.raises(UserError, match=f"{metrics_log.FILE}, {message}.*move the file away") as caught:
            use(written)
        assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(path):
    path.mkdir(parents=True)
    with pytest.raises(UserError, match="Is a directory"):
        metrics_log.read(path)


def test_each_line_is_on_the_disk_when_write_returns(path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_size), fsync(file)))
    with MetricsLog(path, step=0) as log:
        for step in (1, 2):
            log.write(step, {})
            assert synced[-1] == path.stat().st_size > 0
