"""Photographs of folders and of records."""

import cv2
import numpy as np
import pytest

from detect_faces.errors import UserError
from tools.report import Report
from training.photographs import photographs


@pytest.fixture
def report():
    lines = []
    return Report(show=lines.append)


def test_a_folder_with_nothing_in_it(tmp_path, report):
    with pytest.raises(UserError, match=str(tmp_path)):
        photographs(tmp_path, 9, report)


def test_images_of_a_folder_are_rgb_and_bad_ones_reported(tmp_path, report):
    (tmp_path / "below").mkdir()
    red = np.full((4, 6, 3), (0, 0, 255), np.uint8)  # BGR
    cv2.imwrite(str(tmp_path / "below" / "a.png"), red)
    (tmp_path / "b.JPG").write_bytes(b"")
    images = list(photographs(tmp_path, 9, report))
    assert [image.shape for image in images] == [(4, 6, 3)]
    assert (images[0] == (255, 0, 0)).all()
    assert (report.images, report.problems) == (1, 1)


@pytest.mark.parametrize(("most", "taken"), [(1, [0]), (2, [0, 5]), (4, [0, 3, 5, 8]), (10, list(range(10)))])
def test_of_many_those_evenly_apart(tmp_path, report, most, taken):
    for i in range(10):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((2, 2), i, np.uint8))
    assert [image[0, 0, 0] for image in photographs(tmp_path, most, report)] == taken


def test_records(record, tmp_path, report):
    record([[10, 20, 100, 200]])
    (image,) = photographs(tmp_path, 9, report)
    assert image.shape == (480, 640, 3) and image.dtype == np.uint8 and image.std() > 0
    assert report.images == 1
