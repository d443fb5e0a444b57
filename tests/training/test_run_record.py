"""run.json: what a start writes down, the starts that follow it, and what is left out."""

import json
import os
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from detect_faces.errors import UserError
from training import run_record

COMMAND = ["python", "-m", "training.train", "--records", "data/records/sample/train", "--run", "runs/demo"]


TRAIN = {"images": 53, "bytes": 4000, "digest": "12ab"}


def add(folder: Path, **changed) -> None:
    start = dict(command=COMMAND, step=0, seed=7, checkpoint="checkpoints/model.ckpt", restored="restored 3 of 4")
    start["records"] = {"train": TRAIN, "validation": None}
    run_record.add_start(folder, **(start | changed))


def test_what_a_start_writes_down(tmp_path):
    add(tmp_path / "run")
    path = tmp_path / "run/run.json"
    (start,) = json.loads(path.read_text())["starts"]
    assert run_record.starts(tmp_path / "run") == [start]
    assert start["command"] == COMMAND
    assert (start["step"], start["seed"]) == (0, 7)
    assert (start["checkpoint"], start["restored"]) == ("checkpoints/model.ckpt", "restored 3 of 4")
    assert start["versions"]["python"] == platform.python_version()
    for package in ("numpy", "tensorflow", "tf-keras", "tf-models-research-object-detection"):
        assert start["versions"][package] == metadata.version(package)
    assert start["host"]["cpus"] == len(os.sched_getaffinity(0)) and start["host"]["memory_gib"] > 0
    assert start["time"].endswith("Z")


def test_nothing_names_the_machine(tmp_path):
    add(tmp_path)
    text = (tmp_path / "run.json").read_text()
    for name in (socket.gethostname(), str(tmp_path), str(run_record.ROOT), str(Path.home())):
        assert f'"{name}' not in text and f"{name}/" not in text


def test_a_run_that_goes_on_adds_its_start(tmp_path):
    add(tmp_path)
    first = run_record.starts(tmp_path)
    add(tmp_path, step=200, checkpoint="runs/demo/ckpt-200", restored=None, seed=8)
    both = run_record.starts(tmp_path)
    assert both[:1] == first
    assert [start["step"] for start in both] == [0, 200]
    assert both[1]["restored"] is None and both[1]["time"] >= both[0]["time"]
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_other_records_than_the_run_began_with_are_named(tmp_path):
    validation = {"images": 15, "bytes": 1000, "digest": "34cd"}
    both = {"train": TRAIN, "validation": validation}
    assert run_record.other_records(tmp_path, both) == []  # of a run that has not begun
    (tmp_path / "run.json").write_text('{"starts": [{"step": 0}]}')
    assert run_record.other_records(tmp_path, both) == []  # of a run from before records were written down
    add(tmp_path, records=both)
    assert run_record.other_records(tmp_path, both) == []
    assert run_record.other_records(tmp_path, both | {"validation": None}) == []  # nothing is compared any more
    same_size = both | {"train": TRAIN | {"digest": "99ff"}}
    for _ in range(2):  # and once more, when the run has gone on with them
        (told,) = run_record.other_records(tmp_path, same_size)
        assert told.startswith(
            "the training records are not those that the run began with (53 images of 4,000 bytes and 53"
        )
        add(tmp_path, step=2, records=same_size)
    (told,) = run_record.other_records(tmp_path, both | {"validation": validation | {"images": 14, "bytes": 900}})
    assert "validation records" in told and "(15 images of 1,000 bytes and 14 images of 900 bytes)" in told
    assert "cannot be compared" in told and "\n" not in told


def test_a_plan_is_written_as_its_text(tmp_path):
    class Plan:
        def __str__(self):
            return "restored 3 of 4 variables\n  re-initialised: a/weights"

    add(tmp_path, restored=Plan())
    assert run_record.starts(tmp_path)[0]["restored"] == "restored 3 of 4 variables\n  re-initialised: a/weights"


def test_no_record_yet(tmp_path):
    assert run_record.starts(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"starts": 3}', "{}", "\xff"])
def test_another_file_is_kept_as_it_is(tmp_path, text):
    path = tmp_path / "run.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"run.json: not the record of a run; move it away"):
        add(tmp_path)
    assert path.read_text(encoding="latin-1") == text


def test_a_kill_while_it_is_written_leaves_the_record_before(tmp_path, monkeypatch):
    add(tmp_path)
    before = (tmp_path / "run.json").read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        add(tmp_path, step=100)
    assert (tmp_path / "run.json").read_bytes() == before


def test_git_state_of_a_checkout(tmp_path):
    def git(*arguments) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init", "--quiet")
    assert run_record.git_state(tmp_path) is None  # no commit yet
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "--quiet", "-m", "first")
    revision = git("rev-parse", "HEAD").strip()
    (tmp_path / "untracked").write_text("1")
    assert run_record.git_state(tmp_path) == {"revision": revision, "changed": False}
    (tmp_path / "file").write_text("2")
    assert run_record.git_state(tmp_path) == {"revision": revision, "changed": True}
    (tmp_path / "copy").mkdir()
    assert run_record.git_state(tmp_path / "copy") is None  # of another project in this repository


def test_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_record.git_state() is None
    add(tmp_path)
    assert run_record.starts(tmp_path)[0]["git"] is None


def test_a_package_that_is_not_there(monkeypatch):
    monkeypatch.setattr(run_record, "PACKAGES", ("numpy", "no-such-package"))
    assert run_record.versions()["no-such-package"] is None
