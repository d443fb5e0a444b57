"""python -m tools.open_images download, against a server on loopback that can be told to misbehave."""

import base64
import csv
import hashlib
import io
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from PIL import Image

from detect_faces.errors import UserError
from tools import convert, download
from tools.files import only_writer
from tools.formats import open_images
from tools.open_images import __main__ as command
from tools.open_images.images import without_orientation
from tools.report import Report

ROOT = Path(__file__).parents[2]
FACE, CAR = "/m/0dzct", "/m/0k4j"
CLASSES = "/v7/oidv7-class-descriptions-boxable.csv"
BOXES = "/v5/validation-annotations-bbox.csv"
LABELS = "/v5/validation-annotations-human-imagelabels-boxable.csv"
IMAGES = "/2018_04/validation/validation-images-with-rotation.csv"
BOXES_HEADER = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside,"
    "XClick1X,XClick2X,XClick3X,XClick4X,XClick1Y,XClick2Y,XClick3Y,XClick4Y"
)
IMAGES_HEADER = (
    "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,OriginalSize,OriginalMD5,"
    "Thumbnail300KURL,Rotation"
)
IDS = [hashlib.md5(bytes([number])).hexdigest()[:16] for number in range(20)]
# The first 8 have faces, the next 5 are verified to have none; of the others nobody has said so.
FACES, NO_FACES, UNKNOWN = IDS[:8], IDS[8:13], IDS[13:]


class Server:
    """An HTTP server for `files` (path -> bytes).

    Attributes:
        misdeeds: {path: [misdeed, ...]}: one for each request, the last one for ever if it is "always ...". Known are a
            status, (status, headers), "cut" (half a body), "page" (HTML), "torn" (half the file, as if it were whole)
            and "hang" (half a body, then silence until `let_go`).
        ranges: whether parts of a file can be asked for.
        headers: {path: {header: value}} of good answers.
        asked: (path, Range header or None) of each request.
        hangs: set while an answer hangs.
    """

    def __init__(self, files):
        self.files, self.misdeeds, self.ranges, self.headers, self.asked = files, {}, True, {}, []
        self.hangs, self.let_go = threading.Event(), threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                server.answer(self)

            def do_HEAD(self):
                server.answer(self, body=False)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def paths(self):
        return [path for path, _ in self.asked]

    def answer(self, request, body=True):
        wanted = request.headers.get("Range")
        self.asked.append((request.path, wanted))
        misdeed = self._misdeed(request.path)
        data, first = self.files.get(request.path), 0
        status, headers = (404 if data is None else 200), dict(self.headers.get(request.path, {}))
        if isinstance(misdeed, int | tuple):
            status, headers = misdeed if isinstance(misdeed, tuple) else (misdeed, {})
        elif misdeed == "page":
            data = b"<!DOCTYPE html><html>Please log in</html>"
        elif misdeed == "torn":
            data = data[: len(data) // 2]
        if status == 200 and wanted and self.ranges:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            status = 206 if first < len(data) else 416
            total = f"{first}-{len(data) - 1}/{len(data)}" if status == 206 else f"*/{len(data)}"
            headers["Content-Range"] = f"bytes {total}"
        data = data[first:] if status < 400 else b"no"
        request.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if misdeed in ("cut", "hang"):
            data, request.close_connection = data[: len(data) // 2], True
        try:
            request.wfile.write(data if body else b"")
            if misdeed == "hang":
                request.wfile.flush()
                self.hangs.set()
                self.let_go.wait(30)
        except OSError:  # the one who asked is dead
            request.close_connection = True

    def _misdeed(self, path):
        misdeeds = self.misdeeds.get(path, [])
        if not misdeeds:
            return None
        if str(misdeeds[0]).startswith("always "):
            what = misdeeds[0].removeprefix("always ")
            return int(what) if what.isdecimal() else what
        return misdeeds.pop(0)

    def close(self):
        self.let_go.set()
        self._http.shutdown()
        self._http.server_close()


def path_of(image_id):
    return f"/validation/{image_id}.jpg"


def box(image_id, label, number):
    sides = [f"{value:.6f}" for value in (0.1, 0.2 + number / 100, 0.3, 0.9)]
    return ",".join([image_id, "xclick", label, "1", *sides, "0", "1", "0", "0", "0", *["0.5"] * 8])


@pytest.fixture(scope="module")
def official():
    """The files of the server: path -> bytes."""
    boxes, labels, images = [BOXES_HEADER], ["ImageID,Source,LabelName,Confidence"], [IMAGES_HEADER]
    for number, image_id in enumerate(sorted(IDS)):
        if image_id in FACES:
            boxes += [box(image_id, FACE, n) for n in range(1 + IDS.index(image_id) % 3)]
            labels.append(f"{image_id},verification,{FACE},{int(image_id != FACES[0])}")
        if image_id in NO_FACES:
            labels.append(f"{image_id},verification,{FACE},0")
        boxes.append(box(image_id, CAR, number))
        labels.append(f"{image_id},verification,{CAR},1")
        url = f"https://www.flickr.com/{number}"
        images.append(
            f"{image_id},validation,{url}_o.jpg,{url},https://creativecommons.org/licenses/by/2.0/,{url}/who,"
            f'"Zoë, {number}","A ""title"", with commas",12345,MD5==,,{["0.0", "90.0", ""][number % 3]}'
        )
    # Verified both ways: counts as there. (And FACES[0] is verified to have no face, but has a box.)
    labels += [f"{UNKNOWN[0]},verification,{FACE},0", f"{UNKNOWN[0]},crowdsource-verification,{FACE},1"]
    files = {
        CLASSES: b"LabelName,DisplayName\n/m/0dzct,Human face\n/m/0k4j,Car\n/m/04hgtk,Human head\n",
        BOXES: "\n".join([*boxes, ""]).encode(),
        LABELS: "\r\n".join([*labels, ""]).encode(),
        IMAGES: "\n".join([*images, ""]).encode(),
    }
    noise = np.random.default_rng(0)
    for image_id in IDS:
        out = io.BytesIO()
        Image.fromarray(noise.integers(0, 256, (32, 48, 3), np.uint8)).save(out, "JPEG")
        files[path_of(image_id)] = out.getvalue()
    return files


@pytest.fixture
def server(official, monkeypatch):
    monkeypatch.setattr(download, "FIRST_PAUSE", 1e-4)
    running = Server(dict(official))
    yield running
    running.close()


@pytest.fixture
def run(server, tmp_path, capsys):
    """A function that runs the command on the server and gives (exit code, counts, lines of stderr)."""

    def call(*arguments, output=tmp_path / "oi"):
        addresses = ["--base-url", server.url, "--annotations-url", server.url]
        arguments = ["download", "--split", "validation", "--output", str(output), "--json", *addresses, *arguments]
        code = command.main(arguments)
        out, err = capsys.readouterr()
        return code, json.loads(out), err.splitlines()

    return call


def files_of(folder, suffix=""):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name.endswith(suffix)
    }


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def by_hash(ids):
    return sorted(ids, key=lambda image_id: hashlib.sha256(image_id.encode()).digest())


def test_what_there_is_in_the_end(run, official, tmp_path):
    code, counts, _ = run("--limit", "5", "--negatives", "3")
    folder = tmp_path / "oi"
    chosen, empty = by_hash(FACES)[:5], by_hash(NO_FACES)[:3]
    lines = official[BOXES].decode().splitlines()
    expected = [line for line in lines[1:] if line[:16] in chosen and f",{FACE}," in line]
    assert (folder / "validation-annotations-bbox.csv").read_text().splitlines() == [BOXES_HEADER, *expected]
    assert rows(folder / "validation-annotations-human-imagelabels.csv") == [
        {"ImageID": image_id, "Source": "verification", "LabelName": FACE, "Confidence": "0"}
        for image_id in sorted(empty)
    ]
    assert files_of(folder / "validation") == {
        f"{image_id}.jpg": official[path_of(image_id)] for image_id in chosen + empty
    }
    licences = rows(folder / "licences.csv")
    assert [row["ImageID"] for row in licences] == sorted(chosen + empty)
    number = sorted(IDS).index(licences[0]["ImageID"])
    assert licences[0] == {
        "ImageID": sorted(chosen + empty)[0],
        "Subset": "validation",
        "License": "https://creativecommons.org/licenses/by/2.0/",
        "Author": f"Zoë, {number}",
        "AuthorProfileURL": f"https://www.flickr.com/{number}/who",
        "Title": 'A "title", with commas',
        "OriginalURL": f"https://www.flickr.com/{number}_o.jpg",
        "OriginalLandingURL": f"https://www.flickr.com/{number}",
        "Rotation": ["0.0", "90.0", ""][number % 3],
    }
    assert code == 0
    assert counts == {
        "split": "validation",
        "class": "Human face",
        "label": FACE,
        "images": 5,
        "boxes": len(expected),
        "negatives": 3,
        "failed": 0,
        "fetched": 8,
        "already_there": 0,
        "bytes": sum(len(official[path_of(image_id)]) for image_id in chosen + empty),
        "without_exif_orientation": 0,
        "problems": 0,
        "output": str(folder),
    }


def test_the_format_reads_it_and_the_next_command_is_right(run, tmp_path):
    _, _, err = run("--limit", "all", "--negatives", "all")
    folder, report = tmp_path / "oi", Report()
    loaded = open_images.load(
        folder / "validation-annotations-bbox.csv",
        folder / "validation",
        None,
        report,
        image_labels=folder / "validation-annotations-human-imagelabels.csv",
    )
    boxes = {Path(image.name).stem: len(image) for image in loaded}
    assert boxes == {**{i: 1 + n % 3 for n, i in enumerate(FACES)}, **dict.fromkeys(NO_FACES, 0)}
    assert report.problems == 0 and not report.skipped
    words = shlex.split(err[err.index("next:") + 1])
    assert words[:3] == ["python", "-m", "tools.convert"]
    words[words.index("tfrecord")], words[-1] = "coco", str(tmp_path / "coco")
    assert convert.main(words[3:]) == 0


def test_another_class(run, tmp_path):
    code, counts, err = run("--class", "car", "--limit", "2")
    assert (code, counts["label"], counts["images"], counts["boxes"]) == (0, CAR, 2, 2)
    assert f"--class {CAR}=car" in err[-1] and "--image-labels" not in err[-1]
    assert not (tmp_path / "oi" / "validation-annotations-human-imagelabels.csv").exists()
    assert run("--class", CAR, "--limit", "2")[1]["class"] == "Car"


def test_more_images_contain_the_fewer_and_only_new_ones_are_fetched(run, server, tmp_path):
    run("--limit", "3")
    first = files_of(tmp_path / "oi", ".jpg")
    server.asked.clear()
    _, counts, _ = run("--limit", "6", "--negatives", "1")
    second = files_of(tmp_path / "oi", ".jpg")
    assert len(first) == 3 and len(second) == 7 and first.items() <= second.items()
    assert sorted(server.paths()) == sorted([LABELS, *("/" + name for name in second if name not in first)])
    assert (counts["fetched"], counts["already_there"]) == (4, 3)
    server.asked.clear()
    run("--limit", "2")
    assert server.asked == []
    assert {row["ImageID"] for row in rows(tmp_path / "oi" / "validation-annotations-bbox.csv")} == set(
        by_hash(FACES)[:2]
    )
    assert not (tmp_path / "oi" / "validation-annotations-human-imagelabels.csv").exists()


def test_more_than_there_are(run):
    code, counts, err = run("--limit", "50", "--negatives", "50")
    assert (code, counts["images"], counts["negatives"]) == (0, 8, 5)
    assert err[:2] == [
        "--limit 50: the validation split has only 8",
        "--negatives 50: the validation split has only 5",
    ]


def test_only_negatives(run, tmp_path):
    assert run("--limit", "0", "--negatives", "2")[1]["negatives"] == 2
    folder = tmp_path / "oi"
    labels = folder / "validation-annotations-human-imagelabels.csv"
    boxes = folder / "validation-annotations-bbox.csv"
    loaded = open_images.load(boxes, folder / "validation", None, Report(), image_labels=labels)
    assert [len(image) for image in loaded] == [0, 0]


@pytest.mark.parametrize(
    "misdeeds",
    [
        [503, 500, 429, 503],
        [(503, {"Retry-After": "0"}), (429, {"Retry-After": "0"})],
        ["cut", "cut"],
        ["page"],
        ["torn", 502],
    ],
)
def test_an_image_that_comes_in_the_end(run, server, official, tmp_path, misdeeds):
    path, attempts = path_of(FACES[3]), len(misdeeds) + 1
    server.misdeeds[path] = misdeeds
    code, counts, _ = run("--limit", "all")
    assert (code, counts["images"]) == (0, 8)
    assert (tmp_path / "oi" / path[1:]).read_bytes() == official[path]
    assert server.paths().count(path) == attempts


@pytest.mark.parametrize(
    "misdeed, reason, attempts",
    [
        ("always 404", "the server answers 404 Not Found", 1),
        ("always 403", "the server answers 403 Forbidden", 1),
        ("always 503", "the server answers 503 Service Unavailable", download.ATTEMPTS),
        ("always cut", "broke off after", download.ATTEMPTS),
        ("always page", "not an image but a page", download.ATTEMPTS),
        ("always torn", "truncated", download.ATTEMPTS),
    ],
)
def test_an_image_that_cannot_be_had_is_named_and_nowhere_listed(run, server, tmp_path, misdeed, reason, attempts):
    bad = {path_of(FACES[1]), path_of(NO_FACES[2])}
    server.misdeeds = {path: [misdeed] for path in bad}
    code, counts, err = run("--limit", "all", "--negatives", "all")
    assert (code, counts["images"], counts["negatives"], counts["failed"]) == (1, 7, 4, 2)
    named = [line for line in err if line.startswith("error: ")]
    assert sorted(line.split(": ")[1] for line in named) == sorted(server.url + path for path in bad)
    assert all(reason in line and line.endswith("left out") for line in named)
    assert all(server.paths().count(path) == attempts for path in bad)
    for name in ("validation-annotations-bbox", "validation-annotations-human-imagelabels", "licences"):
        assert not {path_of(row["ImageID"]) for row in rows(tmp_path / "oi" / f"{name}.csv")} & bad
    server.misdeeds = {}
    code, counts, _ = run("--limit", "all", "--negatives", "all")
    assert (code, counts["fetched"], counts["already_there"]) == (0, 2, 11)


def test_a_damaged_file_is_fetched_again(run, server, official, tmp_path):
    run("--limit", "3")
    path = path_of(by_hash(FACES)[1])
    (tmp_path / "oi" / path[1:]).write_bytes(official[path][:700])
    server.asked.clear()
    assert run("--limit", "3")[1]["fetched"] == 1
    assert server.paths() == [path] and (tmp_path / "oi" / path[1:]).read_bytes() == official[path]


def test_nothing_at_all(run, server, tmp_path):
    server.misdeeds = {path_of(image_id): ["always 404"] for image_id in FACES}
    with pytest.raises(UserError, match=r"not one image of 'Human face' can be had .*404"):
        run("--limit", "all")
    assert not list((tmp_path / "oi").glob("*.csv"))


def test_giving_up_on_a_wrong_address(run, server, monkeypatch):
    monkeypatch.setattr("tools.open_images.images.GIVE_UP_AFTER", 4)
    with pytest.raises(UserError, match=r"wrong/validation/.*404 Not Found; none of the first 4 .*--base-url right"):
        run("--limit", "all", "--base-url", server.url + "/wrong", "--workers", "1")
    assert len([path for path in server.paths() if "wrong" in path]) < len(FACES)


@pytest.mark.parametrize("option", ["--annotations-url", "--base-url"])
def test_a_closed_port(run, option, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UserError, match=rf"^{url}/.*: Connection refused; .*{option}") as error:
        run("--limit", "all", "--workers", "4", option, url)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "oi").rglob("*.part")) and not list((tmp_path / "oi").glob("*.csv"))


def test_a_server_that_says_nothing(run, server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    server.misdeeds = {path_of(FACES[0]): ["hang"]}
    code, counts, _ = run("--limit", "all")
    assert (code, counts["images"]) == (0, 8)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("path", [BOXES, IMAGES])
def test_a_csv_that_breaks_off_goes_on(run, server, official, tmp_path, ranges, path):
    server.ranges = ranges
    server.misdeeds[path] = ["cut", 503]
    assert run("--limit", "2")[0] == 0
    half = len(official[path]) // 2
    asked = [wanted for asked, wanted in server.asked if asked == path]
    assert asked == [None, f"bytes={half}-", f"bytes={half}-"]
    assert (tmp_path / "oi" / "official" / path.rpartition("/")[2]).read_bytes() == official[path]


def test_a_csv_that_comes_in_many_pieces(run, server, official, tmp_path):
    pieces = 2 * download.ATTEMPTS
    assert len(official[BOXES]) > 2**pieces
    server.misdeeds[BOXES] = ["cut"] * pieces
    assert run("--limit", "2")[0] == 0
    assert server.paths().count(BOXES) == pieces + 1
    assert (tmp_path / "oi" / "official" / BOXES.rpartition("/")[2]).read_bytes() == official[BOXES]


def test_a_csv_that_cannot_be_had_now_goes_on_later(run, server, official, tmp_path):
    server.misdeeds[BOXES] = ["cut", *[503] * download.ATTEMPTS]
    with pytest.raises(
        UserError, match=r"bbox.csv: the server answers 503 .*; what has arrived is kept.*annotations-url"
    ):
        run()
    (part,) = (tmp_path / "oi" / "official").glob("*.part")
    assert part.read_bytes() == official[BOXES][: len(official[BOXES]) // 2]
    assert run("--limit", "1")[0] == 0 and not part.exists()
    assert server.asked[-3] == (BOXES, f"bytes={len(official[BOXES]) // 2}-")  # then the metadata and an image


def test_a_page_in_place_of_a_csv(run, server, tmp_path):
    server.misdeeds[BOXES] = ["page"]
    with pytest.raises(UserError, match=r"bbox\.csv: no CSV file comes from there, but b'<!DOCTYPE html>"):
        run()
    assert sorted(path.name for path in (tmp_path / "oi" / "official").iterdir()) == [CLASSES.rpartition("/")[2]]
    assert run("--limit", "1")[0] == 0


def test_a_checksum_that_the_server_states(run, server, official, tmp_path):
    good = base64.b64encode(google_crc32c.Checksum(official[BOXES]).digest()).decode()
    server.headers[BOXES] = {"x-goog-hash": f"crc32c={good},md5=xyz=="}
    part = tmp_path / "oi" / "official" / f"{BOXES.rpartition('/')[2]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"of another version")
    assert run("--limit", "1")[0] == 0
    assert [wanted for path, wanted in server.asked if path == BOXES] == ["bytes=18-", None]
    assert (tmp_path / "oi" / "official" / BOXES.rpartition("/")[2]).read_bytes() == official[BOXES]
    server.headers[IMAGES] = {"x-goog-hash": "crc32c=AAAAAA=="}
    with pytest.raises(UserError, match=r"rotation\.csv: arrived damaged: its checksum is not the one"):
        run("--limit", "1", output=tmp_path / "other")


@pytest.mark.parametrize(
    "name, hint",
    [
        ("Human fase", "similar are Human face"),
        ("human", "similar are"),
        ("xyzzy", "no boxes of a class of this name$"),
    ],
)
def test_an_unknown_class_is_known_before_much_is_fetched(run, server, name, hint):
    with pytest.raises(UserError, match=rf"^--class '{name}': .*{hint}"):
        run("--class", name)
    assert server.paths() == [CLASSES]


def test_from_folders(run, server, official, tmp_path):
    for path, data in official.items():
        flat = path == BOXES  # a CSV may also lie without its folders
        target = tmp_path / "mirror" / (Path(path).name if flat else path[1:])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    mirror = tmp_path / "mirror"
    (mirror / path_of(FACES[2])[1:]).unlink()
    (mirror / path_of(FACES[4])[1:]).write_bytes(b"no picture")
    sources = ["--base-url", mirror.as_uri(), "--annotations-url", str(mirror)]
    code, counts, err = run("--limit", "all", *sources)
    assert (code, counts["images"], counts["failed"]) == (1, 6, 2)
    assert any(f"error: {mirror}{path_of(FACES[2])}: No such file or directory" in line for line in err)
    assert any(f"error: {mirror}{path_of(FACES[4])}: not a JPEG" in line for line in err)
    assert server.asked == [] and not (tmp_path / "oi" / "official").exists()
    (mirror / IMAGES[1:]).unlink()
    with pytest.raises(UserError, match=r"mirror: has neither 2018_04/.* nor validation-images-with-rotation.csv"):
        run("--limit", "all", *sources)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--workers", "0"], "--workers 0: give a number from 1 to 256"),
        (["--base-url", "ftp://127.0.0.1"], "ftp://127.0.0.1: neither an http"),
        (["--annotations-url", "/nowhere"], "/nowhere: neither an http"),
    ],
)
def test_wrong_options(run, server, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        run(*arguments)
    assert server.asked == [] and not (tmp_path / "oi").exists()


def test_two_at_once(run, tmp_path):
    (tmp_path / "oi").mkdir()
    with only_writer(tmp_path / "oi"), pytest.raises(UserError, match="another process is writing here"):
        run()


def test_a_full_disk(run, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tools.files.os.fsync", full)
    with pytest.raises(UserError, match=r"\.jpg: No space left on device; images that have arrived are kept"):
        run("--limit", "all")


def test_a_full_disk_while_a_csv_arrives(tmp_path, server):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900)); "
    code = limit + "from tools.open_images.__main__ import main, run_command; run_command(main)"
    arguments = ["download", "--split", "validation", "--output", str(tmp_path / "oi")]
    addresses = ["--base-url", server.url, "--annotations-url", server.url]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, *addresses], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    part = tmp_path / "oi/official/validation-annotations-bbox.csv.part"
    reason = "File too large; what has arrived is kept, the same command goes on from there"
    assert done.stderr.splitlines() == [f"error: {part}: {reason}"]


def test_an_exif_orientation_is_taken_out_and_the_pixels_stay(run, server, tmp_path):
    path, exif, out = path_of(FACES[0]), Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(server.files[path])) as stored:
        stored.save(out, "JPEG", exif=exif, quality=95)
    server.files[path] = out.getvalue()
    _, counts, err = run("--limit", "all")
    assert counts["without_exif_orientation"] == 1 and any("EXIF orientation" in line for line in err)
    with Image.open(tmp_path / "oi" / path[1:]) as written, Image.open(out) as sent:
        assert written.getexif().get(0x0112, 1) == 1 and sent.getexif()[0x0112] == 6
        np.testing.assert_array_equal(np.asarray(written), np.asarray(sent))
    assert run("--limit", "all")[1]["already_there"] == 8


def test_other_images_stay_byte_for_byte(picture):
    harmless = Image.Exif()
    harmless[0x010E] = "a description"
    harmless[0x0112] = 1
    for data in (picture(), picture(exif=harmless), picture(form="PNG"), picture(mode="CMYK")):
        assert without_orientation(data) == data


def test_licences_of_several_splits_and_no_image_without(run, server, official, tmp_path):
    licences = tmp_path / "oi" / "licences.csv"
    run("--limit", "2")
    licences.write_text(licences.read_text().replace(",validation,", ",train,"))
    lines = official[IMAGES].decode().splitlines(keepends=True)
    missing = by_hash(FACES)[1]
    server.files[IMAGES] = "".join(line for line in lines if not line.startswith(missing)).encode()
    (tmp_path / "oi" / "official" / "validation-images-with-rotation.csv").unlink()
    code, counts, err = run("--limit", "3")
    assert (code, counts["images"]) == (1, 2)
    assert err[0].endswith(f"rotation.csv: has no licence of image {missing}; it is left out")
    subsets = [row["Subset"] for row in rows(licences)]
    assert subsets == ["train", "train", "validation", "validation"]


def test_bad_lines_of_official_files_are_named(run, server):
    server.files[BOXES] += f"{UNKNOWN[0]},xclick,{FACE},1\n../{UNKNOWN[1][3:]},{box('', FACE, 1)[1:]}\n".encode()
    server.files[LABELS] += f"{UNKNOWN[2]},verification,{FACE},0.5\n".encode()
    code, counts, err = run("--limit", "all", "--negatives", "all")
    assert (code, counts["images"], counts["negatives"], counts["problems"]) == (1, 8, 5, 3)
    assert "has 4 columns, the header has 21" in err[0]
    assert "is no ImageID" in err[1]
    assert "Confidence must be 0 or 1 in verified labels, not '0.5'" in err[2]


def test_dry_run(run, server, official, tmp_path, capsys):
    _, plan, _ = run("--dry-run", "--limit", "7", "--negatives", "3")
    assert [(file["url"], file["bytes"], file["there"]) for file in plan["files"]] == [
        (server.url + path, len(official[path]), False) for path in (CLASSES, BOXES, IMAGES, LABELS)
    ]
    assert (plan["images"], plan["image_bytes"]) == (10, 3_000_000)
    assert not (tmp_path / "oi").exists()
    run("--limit", "1")
    arguments = ["download", "--split", "validation", "--output", str(tmp_path / "oi"), "--annotations-url", server.url]
    assert command.main([*arguments, "--limit", "all", "--dry-run"]) == 0
    *files, images = capsys.readouterr().out.splitlines()
    assert len(files) == 3 and all(line.endswith(": is there") for line in files)
    assert images.endswith("/validation/...: all images of the class")


def test_leftovers_of_a_killed_run_are_removed(run, tmp_path):
    for name in (".licences.csv.part", "validation/.0123.jpg.part"):
        (tmp_path / "oi" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "oi" / name).write_bytes(b"half")
    run("--limit", "1")
    assert not [path for path in (tmp_path / "oi").rglob("*.part")]


def test_killed_at_any_moment_and_started_again(run, server, tmp_path):
    run("--limit", "all", "--negatives", "all", output=tmp_path / "at once")
    arguments = ["download", "--split", "validation", "--output", str(tmp_path / "killed"), "--workers", "2"]
    arguments += ["--limit", "all", "--negatives", "all", "--base-url", server.url, "--annotations-url", server.url]
    process = [sys.executable, "-m", "tools.open_images", *arguments]
    for path in (BOXES, LABELS, path_of(by_hash(FACES)[0]), path_of(by_hash(FACES)[5]), path_of(by_hash(NO_FACES)[3])):
        server.misdeeds = {path: ["hang"]}
        server.hangs.clear()
        server.let_go.clear()
        running = subprocess.Popen(process, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert server.hangs.wait(30)
        os.kill(running.pid, signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
        server.let_go.set()
    server.asked.clear()
    assert subprocess.run(process, cwd=ROOT, capture_output=True).returncode == 0
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "at once")
    assert 0 < len(server.asked) < 13  # the images that were there already are not fetched again


def test_waiting_as_long_as_the_server_asks(server, monkeypatch):
    soon = datetime.now(UTC) + timedelta(seconds=90)
    for value, least, most in [
        ("7", 7, 7),
        (format_datetime(soon, usegmt=True), 80, 90),
        ("nonsense", 0, 1),
        ("", 0, 1),
    ]:
        server.misdeeds = {BOXES: [(503, {"Retry-After": value})]}
        waits = []
        download.fetch(server.url + BOXES, 1 << 20, wait=waits.append)
        assert len(waits) == 1 and least <= waits[0] <= most
    server.misdeeds = {BOXES: [(503, {"Retry-After": "86400"})]}
    with pytest.raises(download.FetchError, match=r"503 Service Unavailable and asks to wait 86,400 s"):
        download.fetch(server.url + BOXES, 1 << 20, wait=waits.append)


def test_pauses_double_and_vary(server, monkeypatch):
    monkeypatch.setattr(download, "FIRST_PAUSE", 1.0)
    server.misdeeds = {BOXES: ["always 503"]}
    waits = []
    with pytest.raises(download.FetchError):
        download.fetch(server.url + BOXES, 1 << 20, wait=waits.append)
    assert len(waits) == download.ATTEMPTS - 1
    assert all(0.5 * 2**n <= pause <= 2**n for n, pause in enumerate(waits))


def test_a_body_larger_than_it_may_be(server, official):
    assert download.fetch(server.url + BOXES, len(official[BOXES])) == official[BOXES]
    with pytest.raises(download.FetchError, match="more than 100 bytes"):
        download.fetch(server.url + BOXES, 100)
