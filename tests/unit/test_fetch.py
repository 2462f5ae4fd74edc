"""Downloads, from a server on the loopback interface."""

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

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", folder
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
