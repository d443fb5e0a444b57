"""The doctor, run as people run it: with the environment, without one, and with a broken one."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import doctor

DOCTOR = Path(doctor.__file__)


def run(script, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-I", str(script), *arguments], capture_output=True, text=True, env=os.environ | environment
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def project(tmp_path):
    """A checkout with nothing but the doctor and a lock of one package."""
    (tmp_path / "tools").mkdir()
    shutil.copy(DOCTOR, tmp_path / "tools")
    (tmp_path / "requirements.lock").write_text(
        "no-such-package==1.0 \\\n    --hash=sha256:00\n"
        "windows-only==2.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
        f"numpy==0.1\npytest=={pytest.__version__}\n"
    )
    return tmp_path


def findings(done):
    return {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_nothing_installed(project):
    done = run(project / "tools" / "doctor.py", PATH="/nowhere")
    assert done.returncode == 1
    assert ".venv is not there" in done.stdout and "run `make setup`" in done.stdout
    found = findings(run(project / "tools" / "doctor.py", "--json", PATH="/nowhere"))
    assert found["make"]["state"] == "bad"
    assert found["npm"]["state"] == "note"


def test_wrong_versions_are_named(project):
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    found = findings(run(project / "tools" / "doctor.py", "--json"))
    packages = found["packages"]["detail"]
    assert packages.startswith("2 of 3 are not right: no-such-package 1.0 (missing), numpy 0.1 (has ")
    assert found["OpenCV"]["state"] == "ok"
    assert found["TensorFlow"]["state"] == "bad"  # there is no training/ in this checkout
    assert found["TensorFlow"]["mend"]


def test_broken_environment(project):
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'it is broken' >&2\nexit 1\n")
    python.chmod(0o755)
    done = run(project / "tools" / "doctor.py")
    assert done.returncode == 1
    assert ".venv does not work: it is broken" in done.stdout


@pytest.mark.parametrize(
    "version, state", [((3, 8, 18), "bad"), ((3, 11, 7), "ok"), ((3, 13, 0), "ok"), ((3, 14, 1), "bad")]
)
def test_python_versions(version, state):
    assert doctor.check_python(version)["state"] == state


def test_two_opencv_wheels():
    finding = doctor.check_opencv("python", ["opencv-python", "opencv-python-headless"])
    assert finding["state"] == "bad" and "opencv-python and opencv-python-headless" in finding["detail"]


def test_it_is_python_3_8_and_needs_no_package():
    tree = ast.parse(DOCTOR.read_text(), feature_version=(3, 8))
    imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imports <= sys.stdlib_module_names


@pytest.mark.slow
def test_this_checkout_is_well():
    done = run(DOCTOR)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "all well"), done.stdout
