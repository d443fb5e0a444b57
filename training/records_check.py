"""Records are read to the last byte before the first step on them, and once: not again while they do not change.

What was read is kept as `.verified.json` beside the shards: {name: [bytes, time of change in ns, digest of classes]}.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from detect_faces.errors import EXIT_OK, UserError
from detect_faces.whole_file import write_whole
from tools import label_map

VERIFIED = ".verified.json"


def check(shards: Sequence[Path], label_map_path: Path, say: Callable[[str], None]) -> None:
    """Has `python -m tools.verify` read those of the shards that it has not read, or that have changed since.

    Args:
        shards: record files.
        label_map_path: of the classes that the records may have.
        say: takes a line for people.

    Raises:
        UserError: a record is damaged, or holds an image, a box or a class that training could not use. Each was named
            on stderr.
    """
    states = {shard: _state(shard, label_map.read(label_map_path)) for shard in shards}
    known = {folder: _verified(folder) for folder in {shard.parent for shard in shards}}
    unread = [shard for shard, state in states.items() if known[shard.parent].get(shard.name) != state]
    if not unread:
        return
    say(f"reading {len(unread)} of {len(shards)} record files to the last byte, once")
    # A process of its own: the workers it starts import what their parent has imported, here TensorFlow.
    command = [sys.executable, "-m", "tools.verify", "--label-map", label_map_path, *unread]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode != EXIT_OK:
        where = unread[0] if len(unread) == 1 else unread[0].parent
        raise UserError(f"{where}: the records are not fit to train on, as listed above; make them again (`make data`)")
    for shard in unread:
        known[shard.parent][shard.name] = states[shard]
    for folder, files in known.items():
        with suppress(OSError):  # records may lie where nobody can write
            write_whole(folder / VERIFIED, json.dumps(files).encode())


def _verified(folder: Path) -> dict:
    try:
        found = json.loads((folder / VERIFIED).read_bytes())
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def _state(shard: Path, classes: Mapping[str, int]) -> list:
    status = shard.stat()
    digest = hashlib.blake2b(json.dumps(sorted(classes.items())).encode(), digest_size=8).hexdigest()
    return [status.st_size, status.st_mtime_ns, digest]
