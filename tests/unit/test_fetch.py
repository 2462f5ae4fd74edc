"""Downloads, from a server on the loopback interface."""

import contextlib
import functools
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile

import pytest
import requests

import toymill
from toymill.config.model import Remote
from toymill.study import fetch as module
from toymill.study.fetch import fetch

CONTENT = b'{"channels": []}'


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "ws.json").write_bytes(CONTENT)
    with tarfile.open(folder / "all.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("deep/ws.json")
        entry.size = len(CONTENT)
        archive.addfile(entry, io.BytesIO(CONTENT))
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        archive.writestr("deep/ws.json", CONTENT)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with serving(functools.partial(Quiet, directory=folder)) as url:
        yield url, folder


@contextlib.contextmanager
def serving(handler):
    """A server on the loopback interface: its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}"
        finally:
            httpd.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "FETCHED", tmp_path / "fetched")


def remote(server, name, member=None, digest=None):
    url, folder = server
    digest = (
        digest or hashlib.sha256((folder / name).read_bytes()).hexdigest() if (folder / name).exists() else "0" * 64
    )
    return Remote(url=f"{url}/{name}", sha256=digest, member=member)


@pytest.mark.parametrize(
    ("name", "member"), [("ws.json", None), ("all.tar.gz", "deep/ws.json"), ("all.zip", "deep/ws.json")]
)
def test_fetch(server, tmp_path, name, member):
    fetch(remote(server, name, member), tmp_path / "out" / "ws.json")
    assert (tmp_path / "out" / "ws.json").read_bytes() == CONTENT


def test_wrong_digest_is_refused(server, tmp_path):
    with pytest.raises(toymill.ToymillError, match=r"does not match the known hash"):
        fetch(remote(server, "ws.json", digest="1" * 64), tmp_path / "ws.json")
    assert not (tmp_path / "ws.json").exists()


def test_missing_member_is_named(server, tmp_path):
    with pytest.raises(toymill.ToymillError, match=r"holds no file 'deep/w.json'. Did you mean 'deep/ws.json'"):
        fetch(remote(server, "all.zip", "deep/w.json"), tmp_path / "ws.json")


def test_member_of_no_archive(server, tmp_path):
    with pytest.raises(toymill.ToymillError, match="Is it a tar or zip archive"):
        fetch(remote(server, "ws.json", "a"), tmp_path / "ws.json")


def test_missing_file(server, tmp_path):
    with pytest.raises(toymill.ToymillError, match="could not be downloaded: 404"):
        fetch(remote(server, "nothing.json"), tmp_path / "ws.json")


def test_a_network_that_fails_is_asked_again(server, tmp_path, monkeypatch):
    """Here, not by Snakemake: a profile for one machine starts no failed job again."""
    answers, retrieve = iter([requests.ConnectionError("no"), requests.Timeout("no")]), module.pooch.retrieve

    def unsteady(*args, **kwargs):
        for error in answers:
            raise error
        return retrieve(*args, **kwargs)

    monkeypatch.setattr(module.pooch, "retrieve", unsteady)
    fetch(remote(server, "ws.json"), tmp_path / "ws.json")
    assert (tmp_path / "ws.json").read_bytes() == CONTENT


def archive(folder, name, entries):
    """A tar archive of headers that may be anything; those with bytes are files."""
    with tarfile.open(folder / name, "w:gz") as made:
        for entry, content in entries:
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))


def entry(name, kind=tarfile.REGTYPE, link=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


@pytest.mark.parametrize(
    "made",
    [
        entry("ws.json", tarfile.SYMTYPE, "/etc/passwd"),
        entry("ws.json", tarfile.SYMTYPE, "../../x"),
        entry("ws.json", tarfile.LNKTYPE, "/etc/passwd"),
        entry("ws.json", tarfile.CHRTYPE),
        entry("ws.json", tarfile.FIFOTYPE),
        entry("ws.json", tarfile.DIRTYPE),
        entry("../ws.json"),
        entry("/ws.json"),
    ],
    ids=["symlink", "symlink up", "link", "device", "fifo", "folder", "up", "absolute"],
)
def test_a_member_is_a_file_of_that_name(server, tmp_path, made):
    archive(server[1], "bad.tar.gz", [(made, b"")])
    with pytest.raises(toymill.ToymillError, match=r"holds no file 'ws.json'"):
        fetch(remote(server, "bad.tar.gz", "ws.json"), tmp_path / "out" / "ws.json")
    assert not (tmp_path / "out" / "ws.json").exists()
    assert not list(tmp_path.rglob("passwd"))


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.tar.gz"])
def test_a_member_has_a_largest_size(server, tmp_path, monkeypatch, name):
    """Whatever the archive says of it: no more than that is unpacked."""
    monkeypatch.setattr(module, "LARGEST_MEMBER", 10**6)
    for size, fits in ((10**6, True), (10**6 + 1, False)):
        if name.endswith("zip"):
            with zipfile.ZipFile(server[1] / name, "w", zipfile.ZIP_DEFLATED) as made:
                made.writestr("ws.json", b"0" * size)
        else:
            archive(server[1], name, [(entry("ws.json"), b"0" * size)])
        if fits:
            fetch(remote(server, name, "ws.json"), tmp_path / "ws.json")
            assert (tmp_path / "ws.json").stat().st_size == size
        else:
            with pytest.raises(toymill.ToymillError, match="has more than 1000000 bytes"):
                fetch(remote(server, name, "ws.json"), tmp_path / "ws.json")


@pytest.mark.parametrize("name", ["all.zip", "all.tar.gz"])
def test_damaged_archives(server, name):
    """Cut or changed anywhere: one message, or bytes; the digest of the whole has been looked at before."""
    whole = (server[1] / name).read_bytes()
    for position in range(0, len(whole), 7):
        for content in (whole[:position], whole[:position] + b"\xff\x00\xff" + whole[position + 3 :]):
            (server[1] / "bad").write_bytes(content)
            try:
                assert isinstance(module._member(server[1] / "bad", "deep/ws.json", "url"), bytes)
            except toymill.ToymillError as error:
                assert "\n" not in str(error)  # noqa: PT017


def test_a_redirection_leads_to_no_local_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")

    class Redirecting(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", secret.as_uri())
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    digest = hashlib.sha256(secret.read_bytes()).hexdigest()
    with serving(Redirecting) as url, pytest.raises(toymill.ToymillError, match="could not be downloaded"):
        fetch(Remote(url=f"{url}/ws.json", sha256=digest), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_lies_there_is_what_was_fetched(server, tmp_path, monkeypatch):
    """A downloaded file, or a member of an archive, that was changed since is refused before any work."""
    from toymill.config import model
    from toymill.config.study import check_inputs, read_study

    monkeypatch.setattr(model, "FETCHED", tmp_path / "fetched")
    for name, member in (("ws.json", None), ("all.zip", "deep/ws.json")):
        one = remote(server, name, member)
        fetch(one, one.local)
        assert one.is_as_fetched()
        one.local.write_bytes(CONTENT + b" ")
        assert not one.is_as_fetched()
        study = read_study(
            {"study": "s", "model": {"path": one.model_dump()}, "ensembles": {"a": {"truth": {"mu": 1}}}}
        )
        with pytest.raises(toymill.ToymillError, match=r"is not what .* gave\. Remove it"):
            check_inputs(study)
