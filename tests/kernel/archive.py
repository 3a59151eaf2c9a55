"""A Debian archive: which packages a suite has, and the packages themselves, with nothing taken on trust.

Each file is checked: the suite's InRelease by its signature with the keys that apt has, the package list by its
checksum in InRelease, a package by its checksum in the list.
"""

import base64
import dataclasses
import hashlib
import lzma
import pathlib
import re
import subprocess
import tempfile
import urllib.error

from apt_sources import deb822_stanzas
from cache import say
from download import download, fetch_text
from problems import Missing

ARCHITECTURE = "arm64"
LIST = f"main/binary-{ARCHITECTURE}/Packages.xz"

TRUSTED = "/etc/apt/trusted.gpg.d"  # keys that apt trusts for every source
_DEFAULT_KEYS = ("/usr/share/keyrings/debian-archive-keyring.gpg",)
_ARMOUR = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"


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
    files = [source.keyring] if source.keyring else list(_DEFAULT_KEYS)
    if not source.keyring:
        files += sorted(str(path) for path in pathlib.Path(TRUSTED).glob("*") if path.suffix in (".gpg", ".asc"))
    files = [file for file in files if pathlib.Path(file).is_file()]
    with tempfile.TemporaryDirectory(prefix="granule-keys-") as folder:
        arguments = ["gpgv", "--quiet", "--status-fd", "2", "--output", "-"]
        for file in files:
            arguments += ["--keyring", str(_binary_keyring(file, folder))]
        try:
            told = subprocess.run([*arguments, "-"], input=release, capture_output=True, check=False)
        except FileNotFoundError as error:
            raise Missing("gpgv is not installed, which checks who signed a package list (Debian package gpgv)") from error
    status = told.stderr.decode("utf-8", errors="replace")
    if "[GNUPG:] GOODSIG" not in status or "[GNUPG:] BADSIG" in status:
        raise Missing(
            f"the package list of {source.suite} is signed by no key that apt trusts"
            f"\n  from {source.uri}\n  keys: {', '.join(files) or 'none'}"
            f"\n  {status.strip()}"
        )
    return told.stdout


def _binary_keyring(file, folder):
    """A file of keys as gpgv wants it: itself, or a copy in `folder` without the armour of *.asc files."""
    content = pathlib.Path(file).read_bytes()
    if _ARMOUR not in content:
        return file
    keys = unarmoured(content.decode("utf-8", errors="replace"))
    copy = pathlib.Path(folder, f"{hashlib.sha256(keys).hexdigest()}.gpg")
    copy.write_bytes(keys)
    return copy


def unarmoured(text):
    """The keys in a text of armoured blocks (RFC 4880, 6.2): headers, an empty line, base64, "=" and a checksum."""
    keys = b""
    for block in re.findall(r"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", text, re.DOTALL):
        lines = [line.strip() for line in block.splitlines()]
        body = lines[lines.index("") + 1 :] if "" in lines else []
        try:
            keys += base64.b64decode("".join(line for line in body if not line.startswith("=")), validate=True)
        except ValueError:
            continue  # a broken block is no key
    return keys


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
