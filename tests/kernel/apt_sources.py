"""Where this machine gets its Debian packages from: the apt sources, in both of apt's formats (sources.list(5)).

That is the only place a host's name comes from: the project names none.
"""

import dataclasses
import os
import pathlib
import re

SCHEMES = ("http:", "https:", "file:")


@dataclasses.dataclass(frozen=True)
class Source:
    """One suite of one archive."""

    uri: str
    suite: str
    components: tuple
    keyring: str = ""  # a file of keys; "": those that apt trusts for everything


def read_sources(folder="/etc/apt"):
    """The sources of binary packages in `folder`, in apt's order, without those that are switched off."""
    folder = pathlib.Path(folder)
    files = [folder / "sources.list"]
    parts = folder / "sources.list.d"
    if parts.is_dir():
        files += sorted(parts.iterdir())
    found = []
    for file in files:
        if file.is_file() and file.suffix in (".list", ".sources"):
            parse = parse_deb822 if file.suffix == ".sources" else parse_one_line
            found += parse(file.read_text(encoding="utf-8"))
    return [dataclasses.replace(source, uri=first_mirror(source.uri)) for source in found]


def first_mirror(uri):
    """Where `uri` is a list of mirrors in a file (apt-transport-mirror(1)), as in Debian's cloud images: the first one."""
    if not uri.startswith("mirror+file:"):
        return uri
    try:
        text = pathlib.Path(re.sub("^/+", "/", uri.removeprefix("mirror+file:"))).read_text(encoding="utf-8")
    except OSError:
        return uri
    mirrors = [line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return mirrors[0].rstrip("/") if mirrors else uri


def parse_one_line(text):
    """The format of *.list: `deb [option=value ...] URI SUITE COMPONENT...`, a source a line."""
    found = []
    for line in text.splitlines():
        words = re.match(r"\s*deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<rest>[^#]*)", line)
        if words is None:
            continue
        options = dict(option.partition("=")[::2] for option in (words["options"] or "").split())
        uri, suite, *components = *words["rest"].split(), "", ""
        if suite:
            keyring = _key_file(options.get("signed-by", ""))
            found.append(Source(uri.rstrip("/"), suite, tuple(filter(None, components)), keyring))
    return found


def parse_deb822(text):
    """The format of *.sources: stanzas of fields, each for every pair of its URIs and suites."""
    found = []
    for fields in deb822_stanzas(text):
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false", "off", "0"):
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                components = tuple(fields.get("components", "").split())
                found.append(Source(uri.rstrip("/"), suite, components, _key_file(fields.get("signed-by", ""))))
    return found


def deb822_stanzas(text):
    """The stanzas of `text` as {field in lower case: value}; lines of a value are joined by newlines."""
    stanza, field = {}, ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, field = {}, ""
        elif line[0] in " \t":
            stanza[field] = stanza.get(field, "") + "\n" + line.strip()
        else:
            field, _, value = line.partition(":")
            field = field.strip().lower()
            stanza[field] = value.strip()


def _key_file(value):
    """A path, or nothing where a source has its key written in it or names it by fingerprint."""
    return re.split(r"[\s,]", value)[0] if value.startswith("/") else ""


def codename(os_release="/etc/os-release"):
    """The name of this machine's Debian release; nothing elsewhere."""
    try:
        text = pathlib.Path(os_release).read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r'^VERSION_CODENAME="?(\w+)', text, re.MULTILINE)
    return found[1] if found else ""


def debian_sources(sources, release):
    """Those of `sources` that are this Debian release, its updates or its security updates, main included.

    Another archive may call a suite "stable", hardly one by the release's name.
    """
    mirror = os.environ.get("GRANULE_DEBIAN_MIRROR", "").rstrip("/")
    if mirror:
        return [Source(mirror, release or "stable", ("main",))]
    suites = (release, f"{release}-updates", f"{release}-security")
    return [
        source
        for source in sources
        if source.suite in suites and "main" in source.components and source.uri.startswith(SCHEMES)
    ]
