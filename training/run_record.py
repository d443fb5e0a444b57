"""run.json: what a run was made with, an entry for each time that its training was started.

    {"starts": [{
        "time": "2025-03-01T09:21:40Z",
        "command": ["python", "-m", "training.train", "--pipeline", "...", "--run", "runs/demo"],
        "step": 0,                       steps that were done before
        "seed": 0,
        "checkpoint": "checkpoints/ssdlite_mobilenet_v2_coco/model.ckpt",    null: none
        "records": {"train": {"images": 53, "bytes": 4650811, "digest": "9b0c"}, "validation": null},   null: unknown
        "restored": "what of checkpoints/... goes into the model: ...",    the table; null: nothing
        "versions": {"python": "3.11.9", "tensorflow": "2.20.0", ...},    null: not installed
        "git": {"revision": "8af2773...", "changed": false},    null: not a checkout
        "host": {"cpus": 2, "memory_gib": 24.0, "machine": "x86_64", "system": "Linux"}
    }]}

Paths stand there as the user typed them; nothing in it names the machine.
"""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from detect_faces.errors import UserError
from detect_faces.whole_file import write_whole

FILE = "run.json"
ROOT = Path(__file__).parents[1]
PACKAGES = (
    *("tensorflow", "tf-keras", "tf-models-research-object-detection", "tf-models-official"),
    *("numpy", "protobuf", "opencv-python"),
)
_OTHER_RECORDS = {
    "train": "the training records are not those that the run began with ({}): it takes images in another order from "
    "here on, and does not end with the weights that it would have had",
    "validation": "the validation records are not those that the run began with ({}): figures before and behind this "
    "step cannot be compared, and the best step may not be the best",
}
_PATIENCE = 10.0  # seconds for git, on a disk that is slow


def add_start(
    folder: Path,
    *,
    command: Sequence[str],
    step: int,
    seed: int,
    checkpoint: str | None,
    restored: object = None,
    records: Mapping[str, Mapping | None] | None = None,
) -> None:
    """Adds a start of training to the record of a run, whole or not at all.

    Args:
        folder: the run's.
        command: as it was typed: ["python", "-m", "training.train", *arguments].
        step: number of steps that were done before.
        seed: of the initial values and the augmentation.
        checkpoint: what it started from: a checkpoint, or the run's own state of training; None for random values.
        restored: what came from there, such as a RestorePlan; written as text.
        records: the fingerprints of the examples, by their use: "train", "validation" (None: there are none).

    Raises:
        UserError: the file that is there is no record.
    """
    start = {
        "time": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "command": list(command),
        "step": step,
        "seed": seed,
        "checkpoint": checkpoint,
        "records": records and dict(records),
        "restored": None if restored is None else str(restored),
        "versions": versions(),
        "git": git_state(),
        "host": host(),
    }
    record = {"starts": [*starts(folder), start]}
    write_whole(folder / FILE, json.dumps(record, indent=2, ensure_ascii=False).encode() + b"\n")


def starts(folder: Path) -> list[dict]:
    """The starts of a run, the first one first; [] where it has no record. Raises UserError where it isn't one."""
    path = folder / FILE
    try:
        found = json.loads(path.read_bytes())["starts"]
        if not isinstance(found, list):
            raise TypeError
        return found
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: not the record of a run; move it away, and a new one is begun") from error


def other_records(folder: Path, records: Mapping[str, Mapping | None]) -> list[str]:
    """What to say where a run goes on with other records than it began with; [] where they are the same, or unknown.

    Args:
        folder: the run's.
        records: as those of `add_start`.
    """
    began = next((start["records"] for start in starts(folder) if start.get("records")), {})
    told = []
    for use, message in _OTHER_RECORDS.items():
        before, now = began.get(use), records.get(use)
        if before and now and before != now:
            counts = " and ".join(f"{each['images']:,} images of {each['bytes']:,} bytes" for each in (before, now))
            told.append(message.format(counts))
    return told


def versions() -> dict[str, str | None]:
    """The versions of Python and of the packages that decide what training computes."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def git_state(root: Path = ROOT) -> dict | None:
    """The commit of a checkout, and whether files of it were changed; None without git, or where `root` isn't one."""
    try:
        # a copy without .git in somebody's repository is no checkout of this one
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None
        revision = _git(root, "rev-parse", "HEAD")
        return {"revision": revision, "changed": bool(_git(root, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, ValueError, subprocess.SubprocessError):  # no git, no checkout, a name that is no text
        return None


def host() -> dict:
    """What of the machine bears on speed and results: usable CPUs, memory in GiB, kind of processor and system."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def _git(root: Path, *arguments: str) -> str:
    # without locks: someone may be committing at the same time
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)
    return done.stdout.strip()
