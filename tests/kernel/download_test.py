#!/usr/bin/env python3
"""What is downloaded, through which proxy, and what is believed: signatures and checksums. Without a network."""

import base64
import contextlib
import functools
import hashlib
import http.server
import os
import pathlib
import tempfile
import threading
import unittest
from unittest import mock

import apt_proxy
import archive
import cache
import download
from apt_sources import Source
from problems import Missing

HOST = "http://debian.example"  # no host of a registry is named in this project


def setUpModule():
    for module in (cache, download, archive):
        mock.patch.object(module, "say", lambda text: None).start()


class AptProxy(unittest.TestCase):
    def test_the_most_particular_setting_counts(self):
        dump = """Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128/";
Acquire::HTTP::proxy::near.example "DIRECT";
Acquire::http::Proxy::far.example "http://other.example:8080";
Acquire::https::Proxy::safe.example "http://safe.example:1";
"""
        for url, proxy in (
            (f"{HOST}/a", "http://proxy.example:3128/"),
            ("http://near.example/a", ""),
            ("http://far.example:81/a", "http://other.example:8080"),
            ("https://debian.example/a", "http://proxy.example:3128/"),
            ("https://safe.example/a", "http://safe.example:1"),
            ("https://near.example/a", ""),
            ("file:/srv/debian/a", None),
        ):
            self.assertEqual(apt_proxy.proxy_of(url, dump), proxy, url)

    def test_without_a_setting_the_environment_counts(self):
        for dump in ("", 'Acquire::http::Proxy "";\n', 'Acquire::ftp::Proxy "http://proxy.example";\n'):
            self.assertIsNone(apt_proxy.proxy_of(f"{HOST}/a", dump))

    def test_a_machine_without_apt_has_no_configuration(self):
        with mock.patch("subprocess.run", side_effect=FileNotFoundError):
            self.assertEqual(apt_proxy.configuration.__wrapped__(), "")


KEYS = bytes(range(100))
ARMOURED = f"""-----BEGIN PGP PUBLIC KEY BLOCK-----
Comment: a

{base64.encodebytes(KEYS).decode("ascii").strip()}
=abcd
-----END PGP PUBLIC KEY BLOCK-----
"""


class Signatures(unittest.TestCase):
    SOURCE = Source(HOST, "trixie", ("main",))

    def text(self, status):
        told = mock.Mock(stdout=b"signed", stderr=b"[GNUPG:] NEWSIG\n" + status)
        with mock.patch("subprocess.run", return_value=told):
            return archive._signed_text(b"around signed around", self.SOURCE)

    def test_only_what_is_signed_is_read(self):
        self.assertEqual(self.text(b"[GNUPG:] GOODSIG 1 Debian\n[GNUPG:] VALIDSIG 1\n"), b"signed")

    def test_a_signature_that_apt_would_not_trust_is_refused(self):
        for status in (
            b"",
            b"[GNUPG:] NO_PUBKEY 1\n",
            b"[GNUPG:] BADSIG 1 Debian\n",
            b"[GNUPG:] REVKEYSIG 1 Debian\n[GNUPG:] VALIDSIG 1\n",
        ):
            with self.assertRaisesRegex(Missing, "signed by no key"):
                self.text(status)


    def keyrings(self, source):
        """What the files hold that gpgv is given as keyrings."""
        found = []

        def gpgv(arguments, **_):
            files = [file for before, file in zip(arguments, arguments[1:]) if before == "--keyring"]
            found.extend(pathlib.Path(file).read_bytes() for file in files)
            return mock.Mock(stdout=b"signed", stderr=b"[GNUPG:] GOODSIG 1 Debian\n")

        with mock.patch("subprocess.run", gpgv):
            archive._signed_text(b"signed", source)
        return found

    def test_an_armoured_key_file_is_read(self):
        with tempfile.TemporaryDirectory() as folder:
            for content in (ARMOURED, ARMOURED.replace("\n", "\r\n"), ARMOURED.replace("Comment: a\n", "")):
                pathlib.Path(folder, "a.asc").write_text(content, encoding="utf-8", newline="")
                self.assertEqual(self.keyrings(Source(HOST, "a", ("main",), f"{folder}/a.asc")), [KEYS])
            pathlib.Path(folder, "a.gpg").write_bytes(KEYS)
            self.assertEqual(self.keyrings(Source(HOST, "a", ("main",), f"{folder}/a.gpg")), [KEYS])

    def test_keys_for_every_source_are_read_in_both_forms(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "a.asc").write_text(ARMOURED, encoding="utf-8")
            pathlib.Path(folder, "b.gpg").write_bytes(b"other keys")
            pathlib.Path(folder, "c.gpg~").write_bytes(b"a backup")
            with mock.patch.multiple(archive, TRUSTED=folder, _DEFAULT_KEYS=()):
                self.assertEqual(self.keyrings(self.SOURCE), [KEYS, b"other keys"])

    def test_several_keys_in_a_file_are_all_read_and_a_broken_one_is_none(self):
        self.assertEqual(archive.unarmoured(ARMOURED + "text between\n" + ARMOURED), KEYS * 2)
        self.assertEqual(archive.unarmoured(ARMOURED.replace("AAEC", "A?EC")), b"")
        self.assertEqual(archive.unarmoured(ARMOURED.replace("PUBLIC", "PRIVATE")), b"")


class Archives(unittest.TestCase):
    def test_a_suite_that_the_archive_has_not_is_none(self):
        with tempfile.TemporaryDirectory() as folder, mock.patch("time.sleep"):
            source = Source(f"file:{folder}", "sid", ("main",))
            self.assertIsNone(archive.read_packages(source, cache.Cache(folder)))

    def test_an_archive_that_cannot_be_reached_is_an_error(self):
        with tempfile.TemporaryDirectory() as folder, mock.patch("time.sleep"):
            source = Source("http://127.0.0.1:1", "sid", ("main",))
            with self.assertRaisesRegex(Missing, "no package list of sid"):
                archive.read_packages(source, cache.Cache(folder))


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `content`; breaks off after `most` bytes; notes the ranges and the paths that it was asked for."""

    def __init__(self, shared, *arguments):
        self.shared = shared
        super().__init__(*arguments)

    def do_GET(self):
        content, wanted = self.shared["content"], self.headers.get("Range")
        self.shared["ranges"].append(wanted)
        self.shared["paths"].append(self.path)
        start = int(wanted.partition("=")[2].rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else self.shared["code"])
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content[start : start + self.shared["most"]])

    def log_message(self, *arguments):
        pass


class Downloads(unittest.TestCase):
    CONTENT = bytes(range(256)) * 40

    def setUp(self):
        self.shared = {"content": self.CONTENT, "ranges": [], "paths": [], "most": 1 << 20, "code": 200}
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, self.shared))
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_port}/x"
        self.path = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()), "x")
        self.enterContext(mock.patch("time.sleep"))
        self.apt("")

    def apt(self, configuration):
        self.enterContext(mock.patch("apt_proxy.configuration", return_value=configuration))

    def fetch(self, content=CONTENT):
        download.download(self.url, self.path, hashlib.sha256(content).hexdigest(), len(content), "x")

    def test_an_interrupted_download_goes_on_where_it_was(self):
        self.shared["most"] = 4000
        self.fetch()
        self.assertEqual(self.path.read_bytes(), self.CONTENT)
        self.assertEqual(self.shared["ranges"], [None, "bytes=4000-", "bytes=8000-"])
        self.assertEqual([file.name for file in self.path.parent.iterdir()], ["x"])

    def test_what_is_there_and_right_is_not_fetched(self):
        self.path.write_bytes(self.CONTENT)
        self.fetch()
        self.assertEqual(self.shared["ranges"], [])

    def test_a_wrong_checksum_is_refused_and_not_kept(self):
        with self.assertRaisesRegex(Missing, "package list promises"):
            self.fetch(bytes(len(self.CONTENT)))
        self.assertEqual(list(self.path.parent.iterdir()), [])

    def test_apts_proxy_is_asked(self):
        self.apt(f'Acquire::http::Proxy "{self.url.removesuffix("/x")}/";\n')
        self.url = f"{HOST}/pool/x"
        self.fetch()
        self.assertEqual(self.shared["paths"], [self.url])
        self.assertEqual(download.fetch_text(f"{HOST}/InRelease"), self.CONTENT)

    def test_where_apt_asks_no_proxy_neither_is_the_environments(self):
        with mock.patch.dict(os.environ, {"http_proxy": "http://127.0.0.1:1"}):
            os.environ.pop("no_proxy", None)
            with self.assertRaisesRegex(Missing, "cannot be downloaded"):
                self.fetch()
            self.apt('Acquire::http::Proxy "DIRECT";\n')
            self.fetch()
        self.assertEqual(self.shared["paths"], ["/x"])

    def test_what_the_archive_has_not_is_said_with_its_address(self):
        self.shared["code"] = 404
        with self.assertRaisesRegex(Missing, self.url):
            self.fetch()
        self.assertEqual(len(self.shared["ranges"]), 1)


if __name__ == "__main__":
    unittest.main()
