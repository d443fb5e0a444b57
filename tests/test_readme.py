"""Every command and every program of the README does what it says, in order, where the demo has run."""

import re
import sys
from pathlib import Path

import pytest

from tests.demo_checkout import ROOT, STEPS, run

README = (ROOT / "README.md").read_text(encoding="utf-8")

# Run by the fixture and by whoever runs this.
ELSEWHERE = {"make demo", "make test"}
# What would take hours, or never end, in a form that doesn't.
SHORTER = {
    "STEPS=2000": "STEPS=2 BATCH=4",
    "STEPS=300 BATCH=16": "STEPS=2 BATCH=4",
    "STEPS=300": "STEPS=2 BATCH=4",
    "best/ckpt-60": f"best/ckpt-{STEPS}",
    "tensorboard --logdir runs --port 6006": "tensorboard --inspect --logdir runs",
    "--output data/open-images": "--output data/open-images --base-url mirror --annotations-url mirror",
}
NO_COCO = "checkpoints/ssdlite_mobilenet_v2_coco/model.ckpt: no checkpoint here"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [line.partition("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line and line not in ELSEWHERE]


def test_the_first_screen_has_picture_and_the_two_commands():
    first = README[: README.index("## ")]
    assert {"make demo", "make test"} <= {line.partition("  #")[0].strip() for line in first.splitlines()}
    (picture,) = re.findall(r"!\[[^]]+]\(([^)]+)\)", first)
    assert (ROOT / picture).is_file()


def test_nothing_is_left_to_fill_in():
    for file in (ROOT / "README.md", *sorted((ROOT / "pipelines").iterdir())):
        assert not re.search(r"@[A-Z]+@|TODO|TIMES", file.read_text(encoding="utf-8")), file


def test_files_that_the_readme_names_are_there():
    made = ("runs/", "exported-models/", "saved_model/", "dist/", "data/records", "WIDER", "wider_face", "/m/")
    named = set(re.findall(r"`([\w./-]+/[\w./-]*)`", README)) | set(re.findall(r"]\(([^)#:]+)\)", README))
    assert len(named) > 10
    assert [name for name in sorted(named) if not name.startswith(made) and not (ROOT / name).exists()] == []


@pytest.fixture(scope="module")
def wider_face(demo: Path) -> Path:
    """The validation half of the sample set, laid out as the README's WIDER FACE."""
    for split, folder in (("train", "WIDER_train"), ("val", "WIDER_val")):
        annotations = demo / "data/sample/validation-annotations-bbox.csv"
        done = run(
            demo,
            f"{sys.executable} -m tools.convert --from open_images --images data/sample/images "
            f"--annotations {annotations} --to wider_face --output converted-{split}".split(),
        )
        assert done.returncode == 0, done.stderr
        (demo / folder).mkdir()
        (demo / folder / "images").symlink_to(demo / "data/sample/images")
        (demo / "wider_face_split").mkdir(exist_ok=True)
        (text,) = (demo / f"converted-{split}").glob("*.txt")
        text.rename(demo / f"wider_face_split/wider_face_{split}_bbx_gt.txt")
    return demo


@pytest.fixture(scope="module")
def mirror(demo: Path) -> None:
    """The validation half of the sample set, laid out as a mirror of Open Images."""
    folder = demo / "mirror"
    folder.mkdir()
    (folder / "validation").symlink_to(demo / "data/sample/images")
    header, *rows = (demo / "data/sample/validation-annotations-bbox.csv").read_text().splitlines(keepends=True)
    rows = [row for row in rows if (folder / "validation" / f"{row.partition(',')[0]}.jpg").exists()]
    boxes, names = "".join([header, *rows]), {row.partition(",")[0] for row in rows}
    images = "ImageID,License,Author\n" + "".join(f"{name},MIT,somebody\n" for name in sorted(names))
    for name, text in {
        "oidv7-class-descriptions-boxable.csv": "LabelName,DisplayName\n/m/0dzct,Human face\n",
        "validation-annotations-bbox.csv": boxes,
        "validation-annotations-human-imagelabels-boxable.csv": "ImageID,Source,LabelName,Confidence\n",
        "validation-images-with-rotation.csv": images,
    }.items():
        (folder / name).write_text(text)


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_command(wider_face, mirror, command):
    for long, short in SHORTER.items():
        command = command.replace(long, short)
    done = run(wider_face, ["bash", "-c", command])
    coco = "ssdlite_mobilenet_v2_coco" in command or "ssdlite_mobilenet_v2_320_face" in command
    if done.returncode and ("neither way leads to the checkpoint" in done.stderr or (coco and NO_COCO in done.stderr)):
        pytest.skip(f"COCO's weights are not to be had here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("program", blocks("python"))
def test_program(demo, program):
    program += "\nassert len(boxes if 'boxes' in globals() else faces.xyxy)"
    done = run(demo, [sys.executable, "-c", program])
    assert done.returncode == 0, done.stderr[-3000:]
