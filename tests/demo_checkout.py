"""A copy of the checkout in which `make demo` has run: what the tests of the demo and of the README look at."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STEPS = 30  # half of the demo's own


def run(folder: Path, command: list[str]) -> subprocess.CompletedProcess:
    """Runs a command in the copy, outside of the `make test` that may be running this."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`make` in the copy."""
    return run(folder, ["make", "--no-print-directory", *arguments])


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """The copy."""
    files = run(ROOT, ["git", "ls-files", "--cached", "--others", "--exclude-standard"])
    if files.returncode:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("demo") / "checkout"
    for name in files.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)  # with its time, from which make knows that .venv is up to date
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    assert make(folder, "--question", "setup").returncode == 0, "run `make setup` first: .venv is not up to date"
    if (ROOT / "checkpoints").is_dir():
        shutil.copytree(ROOT / "checkpoints", folder / "checkpoints", dirs_exist_ok=True)
    done = make(folder, "demo", f"STEPS={STEPS}")
    assert done.returncode == 0, done.stderr[-4000:]
    (folder / "demo.out").write_text(done.stdout)
    return folder
