"""A Debian archive: which packages a suite has, and the packages themselves, with nothing taken on trust.

Each file is checked: the suite's InRelease by its signature with the keys that apt has, the package list by its
checksum in InRelease, a package by its checksum in the list.
"""

import dataclasses
import hashlib
import lzma
import pathlib
import re
import subprocess
import urllib.error

from apt_sources import deb822_stanzas
from cache import say
from download import download, fetch_text
from problems import Missing

ARCHITECTURE = "arm64"
LIST = f"main/binary-{ARCHITECTURE}/Packages.xz"

_DEFAULT_KEYS = ("/usr/share/keyrings/debian-archive-keyring.gpg",)


@dataclasses.dataclass(frozen=True)
class Package:
    name: str
    version: str
    url: str
    sha256: str
    size: int
    depends: str
    suite: str


def parse_packages(text, uri, suite, wanted=None):
    """The packages of a list whose names `wanted` matches as a whole; all without it."""
    found = []
    for stanza in text.split("\n\n"):
        name = re.match(r"\s*Package: (\S+)", stanza)
        if name is None or (wanted and not wanted.fullmatch(name[1])):
            continue
        fields = next(deb822_stanzas(stanza))
        depends = ", ".join(fields[key] for key in ("pre-depends", "depends") if fields.get(key))
        found.append(
            Package(
                name=fields["package"],
                version=fields["version"],
                url=f"{uri}/{fields['filename']}",
                sha256=fields["sha256"],
                size=int(fields["size"]),
                depends=depends,
                suite=suite,
            )
        )
    return found


def read_packages(source, cache, wanted=None):
    """The packages of a suite, from the archive; None where the archive has no such suite."""
    base = f"{source.uri}/dists/{source.suite}"
    try:
        release = fetch_text(f"{base}/InRelease")
    except urllib.error.HTTPError as error:
        if error.code in (403, 404):
            return None
        raise Missing(f"no package list of {source.suite}: {error}\n  from {base}/InRelease") from error
    except OSError as error:
        if isinstance(getattr(error, "reason", None), FileNotFoundError):  # an archive in the file system
            return None
        raise Missing(f"no package list of {source.suite}: {error}\n  from {base}/InRelease") from error
    release = _signed_text(release, source)
    sha256, size = list_in_release(release.decode("utf-8"), LIST)
    path = cache.file(f"lists/{sha256}.xz")
    # By its checksum's name where the archive has that: the list under its own name may be replaced at any moment.
    folder, _, name = LIST.rpartition("/")
    name = f"by-hash/SHA256/{sha256}" if b"\nAcquire-By-Hash: yes" in release else name
    download(f"{base}/{folder}/{name}", path, sha256, size, f"the package list of {source.suite}")
    text = lzma.decompress(path.read_bytes()).decode("utf-8")
    path.unlink()
    return parse_packages(text, source.uri, source.suite, wanted)


def list_in_release(release, name):
    """(checksum, size) of the file `name` as InRelease has them."""
    inside = False
    for line in release.splitlines():
        if not line.startswith(" "):
            inside = line == "SHA256:"
        elif inside:
            sha256, size, path = line.split()
            if path == name:
                return sha256, int(size)
    raise Missing(f"the archive's InRelease names no {name}: this suite has no packages for {ARCHITECTURE}")


def _signed_text(release, source):
    """What a key that apt trusts for this source signed, and nothing that stands around it."""
    keyrings = [source.keyring] if source.keyring else list(_DEFAULT_KEYS)
    if not source.keyring:
        keyrings += map(str, sorted(pathlib.Path("/etc/apt/trusted.gpg.d").glob("*.gpg")))
    keyrings = [keyring for keyring in keyrings if pathlib.Path(keyring).is_file() and not keyring.endswith(".asc")]
    arguments = ["gpgv", "--quiet", "--status-fd", "2", "--output", "-"]
    for keyring in keyrings:
        arguments += ["--keyring", keyring]
    try:
        told = subprocess.run([*arguments, "-"], input=release, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise Missing("gpgv is not installed, which checks who signed a package list (Debian package gpgv)") from error
    status = told.stderr.decode("utf-8", errors="replace")
    if "[GNUPG:] GOODSIG" not in status or "[GNUPG:] BADSIG" in status:
        raise Missing(
            f"the package list of {source.suite} is signed by no key that apt trusts"
            f"\n  from {source.uri}\n  keys: {', '.join(keyrings) or 'none'}"
            f"\n  {status.strip()}"
        )
    return told.stdout


def unpack(package, cache, folder):
    """Downloads a package and unpacks its files into `folder`. The download goes once it is unpacked."""
    path = cache.file(f"downloads/{hashlib.sha256(package.url.encode()).hexdigest()[:8]}-{package.name}.deb")
    download(package.url, path, package.sha256, package.size, f"{package.name} {package.version}")
    say(f"unpacking {package.name}")
    try:
        subprocess.run(["dpkg-deb", "--extract", str(path), str(folder)], check=True)
    except FileNotFoundError as error:
        raise Missing("dpkg-deb is not installed, which unpacks packages (Debian package dpkg)") from error
    except subprocess.CalledProcessError as error:
        raise Missing(f"{package.name} cannot be unpacked from {path} into {folder}") from error
    path.unlink()
