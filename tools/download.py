"""Files fetched over HTTP: again when a server is busy, and on from where an attempt broke off.

After an answer that says "later" (408, 429, 5xx), a broken connection or silence comes another attempt: after a pause
that doubles each time and varies by chance, or after the time that the server asks for (Retry-After). Other answers are
final.
"""

import base64
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import google_crc32c
import requests
import urllib3
from tqdm import tqdm

from detect_faces.errors import UserError

# For the connection, and for each wait for more. Short: where a network lets nothing through, there is another way.
TIMEOUT = 10.0  # seconds
ATTEMPTS = 5
FIRST_PAUSE = 0.5  # seconds before the second attempt, at most
LONGEST_WAIT = 120.0  # seconds; a server that asks for more is not waited for

_PIECE = 1 << 18  # bytes
_LATER = (408, 429, 500, 502, 503, 504)
_threads = threading.local()


class FetchError(Exception):
    """Why a file cannot be had, in a few words without its address.

    Attributes:
        again: whether another attempt may help.
        unreachable: whether no server answered at all.
        wait: seconds that the server asks to wait; 0 if it doesn't.
    """

    def __init__(self, reason: str, again: bool = False, unreachable: bool = False, wait: float = 0.0):
        super().__init__(reason)
        self.again, self.unreachable, self.wait = again, unreachable, wait


def download(
    url: str, part: Path, attempts: int = 1, wait: Callable[[float], object] = time.sleep, quiet: bool = False
) -> None:
    """Fetches `url` into `part`; bytes that `part` has already are not fetched again.

    Only attempts that bring nothing new count. Where the server states a checksum (x-goog-hash) the file is held
    against it. HTTP cannot say that the file has remained the same in between: check its contents, and delete `part`
    when they are damaged.

    Args:
        url: what to fetch.
        part: the file; what has arrived stays in it.
        attempts: how often to try.
        wait: sleeps so many seconds.
        quiet: no progress bar.

    Raises:
        UserError: `url` cannot be had, or broke off; what has arrived is kept in `part`.
        OSError: `part` cannot be written.
    """
    failures = 0
    while True:
        with open(part, "ab") as file:
            before = file.tell()
            try:
                return _receive(url, file, before, quiet)
            except FetchError as error:
                after = file.seek(0, 2)
                failures = 1 if after > before else failures + 1
                if failures >= attempts or not error.again:
                    kept = "; what has arrived is kept, the same command goes on from there" if after else ""
                    raise UserError(f"{url}: {error}{kept}") from error
                pause = error.wait or _pause(failures)
        wait(pause)


def fetch(
    url: str,
    limit: int,
    fault: Callable[[bytes], str] = lambda data: "",
    attempts: int = ATTEMPTS,
    wait: Callable[[float], object] = time.sleep,
) -> bytes:
    """The body of `url`, a small file.

    Args:
        url: what to fetch.
        limit: bytes; a longer body is refused.
        fault: says what is wrong with a body, in a few words, or nothing; a bad one is fetched again.
        attempts: how often to try.
        wait: sleeps so many seconds.

    Raises:
        FetchError: it cannot be had.
    """
    for attempt in range(1, attempts + 1):
        try:
            data = _body(url, limit)
            if reason := fault(data):
                raise FetchError(reason, again=True)
            return data
        except FetchError as error:
            if attempt == attempts or not error.again:
                raise
            pause = error.wait or _pause(attempt)
        wait(pause)
    raise ValueError("no attempt allowed")


def size(url: str) -> int | None:
    """The size in bytes that the server states; None if it doesn't. Raises FetchError."""
    with _answer(url, {}, "HEAD") as response:
        length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _pause(failures: int) -> float:
    return FIRST_PAUSE * 2 ** (failures - 1) * random.uniform(0.5, 1.0)


def _receive(url: str, file, have: int, quiet: bool) -> None:
    """Appends the rest of `url` to `file`, or puts the whole in the place of what is there, as the server offers."""
    with _answer(url, {"Range": f"bytes={have}-"} if have else {}) as response:
        if response.status_code == 416:  # Range Not Satisfiable: there is nothing behind what we have
            if not have:
                raise _refusal(response)
            if response.headers.get("Content-Range") != f"bytes */{have}":
                file.truncate(0)  # more than the whole file: not of this one
                _receive(url, file, 0, quiet)
            return
        if response.status_code == 206:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                raise FetchError("the server sends another part of the file than was asked for")
        else:
            file.truncate(0)
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = {"unit": "B", "unit_scale": True, "disable": quiet or None, "leave": False}
        with tqdm(desc=url.rpartition("/")[2], initial=have, total=total, **bar) as progress:
            for piece in _pieces(response, total and total - have):
                file.write(piece)
                have += len(piece)
                progress.update(len(piece))
        if total is not None and have != total:
            raise FetchError(f"broke off after {have:,} of {total:,} bytes", again=True)
        expected = response.headers.get("x-goog-hash", "")
    if "crc32c=" in expected:
        file.flush()
        if _crc32c(Path(file.name)) != expected.partition("crc32c=")[2][:8]:
            file.truncate(0)
            raise FetchError("arrived damaged: its checksum is not the one the server states", again=True)


def _body(url: str, limit: int) -> bytes:
    data = bytearray()
    with _answer(url, {}) as response:
        if response.status_code >= 400:
            raise _refusal(response)
        length = response.headers.get("Content-Length")
        total = int(length) if length else None
        for piece in _pieces(response, total):
            data += piece
            if len(data) > limit:
                raise FetchError(f"more than {limit:,} bytes")
    if total is not None and len(data) != total:
        raise FetchError(f"broke off after {len(data):,} of {total:,} bytes", again=True)
    return bytes(data)


def _pieces(response: requests.Response, length: int | None) -> Iterator[bytes]:
    """The body as it arrives. If it should be `length` bytes, it also ends where the connection does: count them."""
    try:
        # Not iter_content: it drops what has arrived of a piece when the connection breaks.
        while piece := response.raw.read1(_PIECE):
            yield piece
    except urllib3.exceptions.ProtocolError:
        if length is None:
            raise


@contextmanager
def _answer(url: str, headers: dict[str, str], method: str = "GET") -> Iterator[requests.Response]:
    """The answer to a request, its body not read yet. Raises FetchError, also while its block reads the body."""
    if not hasattr(_threads, "session"):
        _threads.session = requests.Session()  # keeps its connections; not to be shared by threads
    headers = {"Accept-Encoding": "identity", **headers}
    try:
        with _threads.session.request(
            method, url, headers=headers, stream=True, timeout=TIMEOUT, allow_redirects=True
        ) as response:
            if response.status_code >= 400 and response.status_code != 416:
                raise _refusal(response)
            yield response
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        nobody = isinstance(error, requests.ConnectionError | requests.Timeout)
        senseless = isinstance(error, ValueError)  # an address that is none
        raise FetchError(_reason(error), again=not senseless, unreachable=nobody) from error


def _refusal(response: requests.Response) -> FetchError:
    reason = f"the server answers {response.status_code} {response.reason}"
    if response.status_code not in _LATER:
        return FetchError(reason)
    seconds = _retry_after(response.headers.get("Retry-After", ""))
    if seconds > LONGEST_WAIT:
        return FetchError(f"{reason} and asks to wait {seconds:,.0f} s")
    return FetchError(reason, again=True, wait=seconds)


def _retry_after(value: str) -> float:
    """Seconds of a Retry-After header, a number or a date; 0 without one."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def _reason(error: BaseException) -> str:
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return f"no answer within {TIMEOUT:g} s"
    cause: BaseException | None = error
    while cause:  # requests and urllib3 wrap the error of the socket several times
        if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(error).split()) or type(error).__name__


def _crc32c(path: Path) -> str:
    """The CRC-32C of a file as x-goog-hash writes it."""
    checksum = google_crc32c.Checksum()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            checksum.update(piece)
    return base64.b64encode(checksum.digest()).decode()
