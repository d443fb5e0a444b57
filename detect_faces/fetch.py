"""Fetches an image over HTTP, with limits of time and size."""

import http.client
import time
import urllib.error
import urllib.request

from detect_faces.errors import UserError
from detect_faces.guards import Limits, no_image, too_large
from detect_faces.image_header import MAGIC_BYTES, image_kind

CHUNK = 65536


class _OnlyHttp(urllib.request.HTTPRedirectHandler):
    """A server may send us on, but not to another protocol."""

    def redirect_request(self, request, file, code, message, headers, new_url):
        if not new_url.lower().startswith(("http://", "https://")):
            raise urllib.error.URLError(f"sends on to {new_url.partition(':')[0]}:, which is not fetched")
        return super().redirect_request(request, file, code, message, headers, new_url)


def fetch(url: str, limits: Limits) -> bytes:
    """The bytes of an image.

    Proxies of the environment are used. Stops at the first bytes of anything that is no image.

    Raises:
        UserError: it can't be had, isn't an image, or is over a limit.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _OnlyHttp(),
    ):
        opener.add_handler(handler)
    end = time.monotonic() + limits.seconds
    data = bytearray()
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "detect-faces", "Accept": "image/*"})
        with opener.open(request, timeout=limits.seconds) as answer:
            if int(answer.headers.get("Content-Length") or 0) > limits.bytes:
                raise UserError(f"{url}: {too_large(limits)}")
            while chunk := answer.read1(CHUNK):
                data += chunk
                if len(data) >= MAGIC_BYTES and not image_kind(data[:MAGIC_BYTES]):
                    raise UserError(f"{url}: {no_image(bytes(data[:MAGIC_BYTES]))}")
                if len(data) > limits.bytes:
                    raise UserError(f"{url}: {too_large(limits)}")
                if time.monotonic() > end:
                    raise TimeoutError
    except urllib.error.HTTPError as error:
        raise UserError(f"{url}: the server answers {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise UserError(f"{url}: takes longer than the limit of {limits.seconds:g} s") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, TimeoutError):
            reason = f"takes longer than the limit of {limits.seconds:g} s"
        raise UserError(f"{url}: {str(reason).splitlines()[0] if str(reason) else type(error).__name__}") from error
    return bytes(data)
