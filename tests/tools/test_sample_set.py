"""The sample set's pictures out of installed packages."""

import csv
from importlib import metadata

import pytest
from PIL import Image

from detect_faces.errors import UserError
from tools import sample_set


@pytest.fixture
def sample(tmp_path):
    """A function that makes a sample folder with these rows of File, Package, Path."""

    def make(*rows):
        (tmp_path / "images").mkdir(exist_ok=True)
        with open(tmp_path / "images.csv", "w", newline="") as file:
            csv.writer(file).writerows([("File", "Package", "Path"), *rows])
        return tmp_path

    return make


def test_pictures_are_copied_once(sample):
    path = str(next(file for file in metadata.distribution("openpeople").files if file.suffix == ".jpg"))
    folder = sample(("a.jpg", "openpeople", path))
    assert sample_set.main(folder) == 0
    copied = folder / "images" / "a.jpg"
    with Image.open(copied) as small, Image.open(metadata.distribution("openpeople").locate_file(path)) as packaged:
        assert max(small.size) == sample_set.LONG_SIDE < max(packaged.size)
        assert small.width / small.height == pytest.approx(packaged.width / packaged.height, rel=2e-3)
    copied.write_bytes(b"mine")
    assert sample_set.main(folder) == 0
    assert copied.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "row, message",
    [
        (
            ("a.jpg", "no-such-package", "x.jpg"),
            "line 2: the package no-such-package is not installed; run `make setup`",
        ),
        (("a.jpg", "openpeople", "none.jpg"), "line 2: openpeople has no none.jpg"),
        (("a.jpg", "", ""), "line 2: a.jpg is not there and comes from no package"),
        (("../a.jpg", "openpeople", "x"), "line 2: .*not a path inside"),
    ],
)
def test_what_is_missing_is_named(sample, row, message):
    with pytest.raises(UserError, match=message):
        sample_set.main(sample(row))


def test_no_list(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        sample_set.main(tmp_path)
    (tmp_path / "images.csv").write_text("File\na.jpg\n")
    with pytest.raises(UserError, match="no column Package, Path"):
        sample_set.main(tmp_path)


def test_the_project_s_list_can_be_had(tmp_path):
    """Every row of the project's list is in the project or in a package of the lock."""
    for number, row in sample_set._listed(sample_set.SAMPLE / "images.csv"):
        there = sample_set.SAMPLE / "images" / row["File"]
        assert there.is_file() or sample_set._packaged(row, f"line {number}")
