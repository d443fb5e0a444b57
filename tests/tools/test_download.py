"""Downloads from a server on loopback: whole, broken off, continued, refused."""

import socket
import threading

import numpy as np
import pytest

from detect_faces.errors import UserError
from tools import download as module
from tools.download import FetchError, download, fetch, size

DATA = np.random.default_rng(0).bytes(700_001)
HALF = len(DATA) // 2


@pytest.fixture
def url(server):
    server.files = {"/a.tar.gz": DATA, "/empty": b""}
    return f"{server.url}/a.tar.gz"


@pytest.fixture
def part(tmp_path):
    return tmp_path / "a.part"


@pytest.mark.parametrize("have", [0, 1, HALF, len(DATA) - 1, len(DATA)])
def test_only_what_is_missing_is_fetched(server, url, part, have):
    part.write_bytes(DATA[:have])
    download(url, part)
    assert part.read_bytes() == DATA
    assert server.asked == ([f"bytes={have}-"] if have else [None])


def test_an_empty_file(server, url, part):
    download(f"{server.url}/empty", part)
    assert part.read_bytes() == b""


def test_a_server_without_ranges_sends_all_of_it_again(server, url, part):
    server.ranges = False
    part.write_bytes(b"x" * HALF)
    download(url, part)
    assert part.read_bytes() == DATA


def test_a_part_longer_than_the_file_is_of_another_one(url, part):
    part.write_bytes(DATA + b"x")
    download(url, part)
    assert part.read_bytes() == DATA


def test_half_a_body_is_kept_and_continued(server, url, part):
    server.breaks_after = HALF
    with pytest.raises(UserError, match=r"a\.tar\.gz: broke off after 350,000 of 700,001 bytes; .* goes on from there"):
        download(url, part)
    assert part.read_bytes() == DATA[:HALF]
    server.breaks_after = None
    download(url, part)
    assert part.read_bytes() == DATA and server.asked == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_the_status_of_an_error_is_said_and_what_is_there_kept(server, url, part, status):
    server.status = status
    part.write_bytes(DATA[:HALF])
    with pytest.raises(UserError, match=rf"^http://127.*: the server answers {status} \w+"):
        download(url, part)
    assert part.read_bytes() == DATA[:HALF]


def test_a_part_that_was_not_asked_for_is_not_taken(server, url, part, monkeypatch):
    part.write_bytes(DATA[:HALF])
    answer = server.answer

    def other_part(request):
        request.headers.replace_header("Range", "bytes=7-")
        answer(request)

    monkeypatch.setattr(server, "answer", other_part)
    with pytest.raises(UserError, match="another part"):
        download(url, part)
    assert part.read_bytes() == DATA[:HALF]


def test_silence_ends_after_the_time_out(server, url, part, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    server.pause = 1.0
    with pytest.raises(UserError, match="no answer within"):
        download(url, part)


def test_nobody_there(part):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=r"Connection refused$"):
        download(f"http://127.0.0.1:{port}/a.tar.gz", part)


def test_something_else_than_http(part):
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.listen()

        def talk():
            with other.accept()[0] as connection:
                connection.recv(1 << 16)
                connection.sendall(b"SSH-2.0-other\r\n")

        threading.Thread(target=talk, daemon=True).start()
        with pytest.raises(UserError, match=r"^http://127.*: "):
            download(f"http://127.0.0.1:{other.getsockname()[1]}/a.tar.gz", part)


@pytest.mark.parametrize("address", ["gopher://127.0.0.1/a", "http://", "http://127.0.0.1:port/a"])
def test_addresses_that_are_none(part, address):
    with pytest.raises(UserError, match="^" + address):
        download(address, part)


def test_a_busy_server_is_asked_again(server, url, part):
    server.troubles["/a.tar.gz"] = [503, "half", 429, "half"]
    waits = []
    download(url, part, attempts=3, wait=waits.append)
    assert part.read_bytes() == DATA
    assert len(waits) == 4 and all(0 < pause <= 1 for pause in waits)
    assert server.asked[2].startswith("bytes=350000-")  # what has arrived is not fetched again


def test_retry_after_is_waited_for_within_reason(server, url):
    server.headers["Retry-After"] = "7"
    server.troubles["/a.tar.gz"] = [503]
    waits = []
    assert fetch(url, 1 << 20, wait=waits.append) == DATA
    assert waits == [7.0]
    server.headers["Retry-After"] = "7000"
    server.troubles["/a.tar.gz"] = [503]
    with pytest.raises(FetchError, match=r"503 .* and asks to wait 7,000 s"):
        fetch(url, 1 << 20, wait=waits.append)


def test_fetch_takes_only_what_is_right(server, url):
    with pytest.raises(FetchError, match="more than 1,000 bytes"):
        fetch(url, 1000)
    with pytest.raises(FetchError, match="404"):
        fetch(f"{server.url}/none", 1000)
    waits, verdicts = [], ["torn", "torn", ""]
    assert fetch(url, 1 << 20, fault=lambda data: verdicts.pop(0), wait=waits.append) == DATA
    assert len(waits) == 2
    with pytest.raises(FetchError, match="always wrong"):
        fetch(url, 1 << 20, fault=lambda data: "always wrong", attempts=2, wait=waits.append)
    assert size(url) == len(DATA)
