"""A file fetched over HTTP, going on where an earlier attempt broke off."""

import http.client
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from detect_faces.errors import UserError

# For the connection, and for each wait for more. Short: where a network lets nothing through, there is another way.
TIMEOUT = 10.0  # seconds

_PIECE = 1 << 18  # bytes


def download(url: str, part: Path) -> None:
    """Fetches `url` into `part`; bytes that `part` has already are not fetched again.

    HTTP cannot say that the file has remained the same in between: check its contents, and delete `part` when they are
    damaged.

    Raises:
        UserError: `url` cannot be had, or broke off; what has arrived is kept in `part`.
    """
    with open(part, "ab") as file:
        have = file.tell()
        try:
            request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                return _receive(response, file, url)
        except urllib.error.HTTPError as error:
            if error.code != 416:  # Range Not Satisfiable: there is nothing behind what we have
                raise UserError(f"{url}: the server answers {error.code} {error.reason}") from error
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return None
            file.truncate(0)  # more than the whole file: not of this one
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UserError(f"{url}: {_reason(error)}{_kept(file.tell())}") from error
    return download(url, part)


def _receive(response: http.client.HTTPResponse, file, url: str) -> None:
    """Appends the body of an answer to `file`, or puts it in the place of what is there, as its status says."""
    if response.status == 206:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {file.tell()}-"):
            raise UserError(f"{url}: the server sends another part of the file than was asked for")
    else:
        file.truncate(0)
    have = file.seek(0, 2)
    length = response.headers.get("Content-Length")
    total = have + int(length) if length else None
    with tqdm(
        desc=url.rpartition("/")[2], initial=have, total=total, unit="B", unit_scale=True, disable=None, leave=False
    ) as progress:
        while piece := response.read(_PIECE):
            file.write(piece)
            progress.update(len(piece))
    if total is not None and file.tell() != total:
        raise UserError(f"{url}: broke off after {file.tell():,} of {total:,} bytes{_kept(file.tell())}")


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)  # URLError hides the error of the socket
    if isinstance(cause, TimeoutError):
        return f"no answer within {TIMEOUT:.0f} s"
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _kept(size: int) -> str:
    return "; what has arrived is kept, the same command goes on from there" if size else ""
