"""Which images a command line means, and where what is made of them goes."""

import io
import os
from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect_faces.errors import UserError
from detect_faces.fetch import fetch
from detect_faces.guards import Limits
from detect_faces.inputs import find_sources, image_name, listed_sources, open_list
from tests.detect_faces.test_read_images import encode, scene


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("b.jpg", "a.PNG", "a/z.webp", "a/deep/y.bmp", "notes.txt", "a/.hidden.jpg", ".thumbnails/t.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*arguments, **options) -> list[tuple[str, str]]:
    return [(source.name, str(source.inside)) for source in find_sources(arguments, **options)]


def test_of_a_folder_images_in_order_laid_out_as_they_were(folder):
    assert found("photos") == [
        ("photos/a/deep/y.bmp", "a/deep/y.bmp"),
        ("photos/a/z.webp", "a/z.webp"),
        ("photos/a.PNG", "a.PNG"),
        ("photos/b.jpg", "b.jpg"),
    ]


def test_links_to_folders_are_not_followed(folder):
    os.symlink("..", "photos/a/round")
    assert len(found("photos")) == 4


def test_links_that_lead_nowhere_are_reported_and_pipes_left_alone(folder):
    os.symlink("gone.jpg", "photos/c.jpg")
    os.symlink("round.jpg", "photos/round.jpg")
    os.symlink("b.jpg", "photos/same.jpg")
    os.mkfifo("photos/pipe.jpg")
    assert [name for name, _ in found("photos")][3:] == [f"photos/{n}.jpg" for n in ("b", "c", "round", "same")]


def test_what_a_folder_has_besides_images_is_said(folder, capsys):
    for name in ("clip.MP4", "a/clip.mp4", "a/photo.heic", "a/.hidden.mov"):
        Path("photos", name).touch()
    assert len(found("photos")) == 4
    assert capsys.readouterr().err.startswith("note: photos: left out: 1 .heic, 2 .mp4; ")


def test_a_file_is_taken_whatever_its_name(folder):
    assert found("photos/notes.txt", "photos/b.jpg", "gone.jpg") == [
        ("photos/notes.txt", "notes.txt.jpg"),
        ("photos/b.jpg", "b.jpg"),
        ("gone.jpg", "gone.jpg"),
    ]


def test_patterns(folder):
    assert found("photos/*.jpg") == [("photos/b.jpg", "b.jpg")]
    assert found("photos/**/*.*[gp]") == [  # `.bmp`, `.webp`, `.jpg`; hidden files are left out, as a shell does
        ("photos/a/deep/y.bmp", "a/deep/y.bmp"),
        ("photos/a/z.webp", "a/z.webp"),
        ("photos/b.jpg", "b.jpg"),
    ]
    assert found("phot*") == found("photos/") or [name for name, _ in found("phot*")] == [
        name for name, _ in found("photos")
    ]
    (none,) = find_sources(["nothing/*.jpg"])
    assert none.problem == "no file fits this pattern"


def test_a_file_with_brackets_in_its_name_is_that_file(folder):
    Path("photo[1].jpg").touch()
    assert found("photo[1].jpg") == [("photo[1].jpg", "photo[1].jpg")]


def test_a_folder_without_images_is_a_problem(folder):
    Path("empty").mkdir()
    (source,) = find_sources(["empty"])
    assert "no file in this folder ends in" in source.problem


def test_other_kinds(folder):
    kinds = [(source.kind, source.problem) for source in find_sources(["-", "camera:1", "https://a.b/c.jpg?x=1"])]
    assert kinds == [("stdin", None), ("camera", None), ("url", "a URL is only fetched with --allow-urls")]
    assert found("https://a.b/d/../c%2Ejpg", "http://a.b", allow_urls=True) == [
        ("https://a.b/d/../c%2Ejpg", "a.b/d/c.jpg"),
        ("http://a.b", "a.b.jpg"),
    ]


@pytest.mark.parametrize("null", [False, True])
def test_lists(folder, null):
    names = ["photos/b.jpg", "*.jpg", "-", "../up.jpg", "/abs/a.jpg", "photos/a", "ä b.jpg"]
    end = b"\0" if null else b"\r\n"
    listed = listed_sources(io.BytesIO(end.join(map(os.fsencode, names)) + end + end), null)
    assert [(source.name, str(source.inside)) for source in listed] == [
        ("photos/b.jpg", "photos/b.jpg"),
        ("*.jpg", "*.jpg"),
        ("-", "-.jpg"),
        ("../up.jpg", "up.jpg"),
        ("/abs/a.jpg", "abs/a.jpg"),
        ("photos/a/deep/y.bmp", "photos/a/deep/y.bmp"),
        ("photos/a/z.webp", "photos/a/z.webp"),
        ("ä b.jpg", "ä b.jpg"),
    ]


def test_a_list_is_read_as_it_comes(folder):
    read, write = os.pipe()
    os.write(write, b"first.jpg\0second.jpg\0thi")
    with open(read, "rb") as file:
        listed = listed_sources(file, null=True)
        assert [next(listed).name, next(listed).name] == ["first.jpg", "second.jpg"]  # and does not wait for more
        os.close(write)
        assert next(listed).name == "thi"


def test_a_list_that_is_not_there():
    with pytest.raises(UserError, match=r"--files-from nowhere\.txt: No such file"):
        open_list("nowhere.txt")


@given(st.lists(st.text(st.characters(blacklist_characters="\0\r\n", blacklist_categories=["Cs"])), max_size=5))
def test_outputs_stay_below_their_folder(names):
    for source in listed_sources(io.BytesIO("\0".join(names).encode()), null=True, allow_urls=True):
        assert not source.inside.is_absolute() and ".." not in source.inside.parts
        assert source.inside.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def test_names_of_pictures():
    assert image_name(PurePath("a/b.PNG")) == PurePath("a/b.PNG")
    assert image_name(PurePath("a/b.gif")) == PurePath("a/b.gif.jpg")


# URLs


def test_fetches_an_image(server):
    data = encode(scene(), "PNG")
    server.files["/photo.png"] = data
    assert fetch(server.url + "/photo.png", Limits()) == data
    with pytest.raises(UserError, match="the server answers 404"):
        fetch(server.url + "/other.png", Limits())


def test_fetches_no_more_than_the_limit(server):
    server.files["/photo.png"] = encode(scene(), "PNG") + bytes(10_000)
    with pytest.raises(UserError, match=r"photo\.png: more than the limit of 5,000 bytes"):
        fetch(server.url + "/photo.png", Limits(bytes=5000))


def test_fetches_nothing_but_images(server):
    server.files["/page.html"] = b"<html>" + bytes(10_000_000)
    with pytest.raises(UserError, match="not a JPEG, PNG, WebP or BMP image"):
        fetch(server.url + "/page.html", Limits())


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.jpg", "http://", "http://[::1/a.jpg", "http://a b/c.jpg"])
def test_what_cannot_be_fetched_is_one_line(url):
    with pytest.raises(UserError) as error:
        fetch(url, Limits(seconds=5))
    assert str(error.value).startswith(url + ": ") and "\n" not in str(error.value)


def test_a_server_may_send_us_on_but_not_to_another_protocol(server):
    server.files |= {"/photo.png": encode(scene(), "PNG"), "/old.png": b"moved"}
    server.troubles["/old.png"] = [301, 302]
    server.headers["Location"] = server.url + "/photo.png"
    assert fetch(server.url + "/old.png", Limits()) == server.files["/photo.png"]
    server.headers["Location"] = "ftp://127.0.0.1/photo.png"
    with pytest.raises(UserError, match="which is not fetched"):
        fetch(server.url + "/old.png", Limits())


def test_a_slow_server(server):
    server.pause = 2
    with pytest.raises(UserError, match=r"takes longer than the limit of 0\.1 s"):
        fetch(server.url + "/photo.png", Limits(seconds=0.1))
