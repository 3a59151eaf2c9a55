"""Downloads one file: with its checksum, through apt's proxy, from where an interrupted download left off, with progress for who waits."""

import hashlib
import http.client
import sys
import time
import urllib.error
import urllib.request

import apt_proxy
from cache import say
from problems import Gone, Missing

ATTEMPTS = 4
TIMEOUT = 60  # seconds without a byte
_BLOCK = 1 << 18
_REPORT_EVERY = 5  # seconds


def download(url, path, sha256, size, what):
    """Makes the file `path`, complete and with this checksum; what came is kept in `path`.part until it is."""
    if path.exists() and _sha256(path) == sha256:
        return
    part = path.with_name(path.name + ".part")
    say(f"downloading {what}, {size / 1e6:.0f} MB")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _append(url, part, size)
            if _sha256(part) == sha256:
                part.replace(path)
                return
            problem = f"{part.stat().st_size} of {size} bytes came, or not those that the package list promises"
        except urllib.error.HTTPError as error:
            problem = f"{error.code} {error.reason}"
            if error.code == 404:
                raise Gone(f"{what} is not in the archive any more\n  {url}\n  --update reads its lists anew") from error
        except (OSError, http.client.HTTPException) as error:
            problem = str(getattr(error, "reason", error))
        if part.exists() and part.stat().st_size >= size:
            part.unlink()
        if attempt < ATTEMPTS:
            time.sleep(attempt)
    raise Missing(f"{what} cannot be downloaded: {problem}\n  from {url}\n  to {path}")


def fetch_text(url):
    """A small text, asked for a second time where a connection broke. OSError where it cannot be had."""
    try:
        return _fetch(url)
    except urllib.error.HTTPError as error:
        if error.code < 500:
            raise
    except (OSError, http.client.HTTPException):
        pass
    time.sleep(1)
    try:
        return _fetch(url)
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error


def _fetch(url):
    with _open(urllib.request.Request(url)) as response:
        return response.read()


def _open(request):
    """The answer to a request, asked for through apt's proxy."""
    handlers = []
    proxy = apt_proxy.proxy_of(request.full_url, apt_proxy.configuration())
    if proxy is not None:
        handlers.append(urllib.request.ProxyHandler({request.type: proxy} if proxy else {}))
    return urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT)


def _append(url, part, size):
    """Downloads what `part` lacks yet."""
    have = part.stat().st_size if part.exists() else 0
    if have >= size:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with _open(request) as response:
        resumed = have and response.status == 206
        have = have if resumed else 0
        with open(part, "ab" if resumed else "wb") as file:
            reported = time.monotonic()
            while block := response.read(_BLOCK):
                file.write(block)
                have += len(block)
                if time.monotonic() - reported > _REPORT_EVERY:
                    reported = time.monotonic()
                    say(f"  {have * 100 // max(size, 1)} % of {size / 1e6:.0f} MB")
    sys.stderr.flush()


def _sha256(path):
    """Of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
