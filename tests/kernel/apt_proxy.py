"""Through which proxy apt downloads (apt-transport-http(1)), so that what apt can reach can be reached here too.

A command that finds a proxy (Acquire::http::Proxy-Auto-Detect) is not asked: set the environment's http_proxy then.
"""

import functools
import re
import subprocess
import urllib.parse


@functools.cache
def configuration():
    """apt's configuration as `apt-config dump` prints it; nothing where there is no apt."""
    try:
        told = subprocess.run(["apt-config", "dump"], capture_output=True, check=False)
    except OSError:
        return ""
    return told.stdout.decode("utf-8", errors="replace")


def proxy_of(url, dump):
    """The proxy's address for `url`; "" where apt asks none, None where it leaves that to the environment (http_proxy).

    The most particular setting counts: of the host, then of the scheme; https without any of its own has http's.
    """
    settings = {key.lower(): value for key, value in re.findall(r'^(\S+) "(.*)";$', dump, re.MULTILINE)}
    address = urllib.parse.urlsplit(url)
    for scheme in ("https", "http") if address.scheme == "https" else (address.scheme,):
        for key in (f"acquire::{scheme}::proxy::{address.hostname}", f"acquire::{scheme}::proxy"):
            if settings.get(key):
                return "" if settings[key].upper() == "DIRECT" else settings[key]
    return None
