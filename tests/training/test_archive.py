"""Archives: what is taken from a good one, and bad ones are refused."""

import gzip
import io
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detect_faces.errors import UserError
from training.archive import extract

WANTED = r"(.*/)?model\.ckpt\.\w+"
GOOD = {"zoo/model.ckpt.index": b"index" * 99, "zoo/graph.pb": b"graph", "zoo/model.ckpt.meta": b""}


def tar(files, mode="w:gz", links=()):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return out.getvalue()


@pytest.fixture
def refused(tmp_path):
    """A function that extracts from an archive of these bytes and gives the message of the refusal."""

    def message(data):
        path, folder = tmp_path / "a.tar.gz", tmp_path / "folder"
        path.write_bytes(data)
        folder.mkdir(exist_ok=True)
        with pytest.raises(UserError) as error:
            extract(path, WANTED, folder)
        assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
        assert not list(tmp_path.glob("evil*"))
        return str(error.value)

    return message


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_only_the_wanted_files_are_taken(tmp_path, mode):
    path, folder = tmp_path / "archive", tmp_path / "folder"
    path.write_bytes(tar(GOOD, mode))
    folder.mkdir()
    assert extract(path, WANTED, folder) == ["model.ckpt.index", "model.ckpt.meta"]
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        "model.ckpt.index": GOOD["zoo/model.ckpt.index"],
        "model.ckpt.meta": b"",
    }


@pytest.mark.parametrize(
    "data", [b"", b"<html>not found</html>", gzip.compress(b"no tar" * 200)], ids=["empty", "page", "gzip"]
)
def test_no_archive(refused, data):
    assert "not a whole tar archive" in refused(data)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_torn_archive(refused, share):
    data = tar(GOOD)
    assert "not a whole tar archive" in refused(data[: int(share * len(data))])


@settings(max_examples=200)
@given(
    mode=st.sampled_from(["w", "w:gz", "w:bz2", "w:xz"]),
    place=st.floats(0, 1, exclude_max=True),
    bits=st.integers(1, 255),
)
def test_damage_anywhere_is_one_kind_of_error(tmp_path_factory, mode, place, bits):
    folder = tmp_path_factory.mktemp("damaged")
    data = bytearray(tar(GOOD, mode))
    data[int(place * len(data))] ^= bits
    (folder / "archive").write_bytes(data)
    try:
        extract(folder / "archive", WANTED, folder)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert mode == "w" or (folder / "model.ckpt.index").read_bytes() == GOOD["zoo/model.ckpt.index"]


def test_a_flipped_bit_behind_the_last_wanted_file(refused):
    data = bytearray(tar(GOOD))
    data[-6] ^= 1  # in the checksum
    assert "not a whole tar archive" in refused(bytes(data))


@pytest.mark.parametrize("name", ["../evil", "zoo/../../evil", "../model.ckpt.index"])
def test_a_path_that_leads_outside(refused, name):
    assert "refused" in refused(tar({**GOOD, name: b"evil"}))


def test_a_link_that_leads_outside(refused):
    assert "refused" in refused(tar({}, links=[("zoo/model.ckpt.index", "../../evil")]))


def test_one_name_twice(refused):
    assert "model.ckpt.index more than once" in refused(tar({**GOOD, "other/model.ckpt.index": b"other"}))
