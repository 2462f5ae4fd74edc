"""Downloading a published input: once, and only if its digest is the expected one."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pooch
import requests

from toymill.config.model import FETCHED, Remote
from toymill.errors import ToymillError, nearest

_DOWNLOAD = ".download"  # what the address gave, kept so that several members are one download


def fetch(remote: Remote, output: str | Path) -> None:
    """Download a file, or one member of an archive, to ``output``.

    Args:
        remote: where it is, and its digest.
        output: where to put it.

    Raises:
        ToymillError: no answer, another digest, an archive without the member.
    """
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    url, digest, member = remote.url, remote.sha256, remote.member
    pooch.get_logger().setLevel("WARNING")
    try:
        path = _download(url, digest)
    except ValueError as error:
        msg = f"{url}: {error} Check the address, or whether the record has a new version."
        raise ToymillError(msg) from None
    except (requests.RequestException, OSError) as error:
        msg = f"{url} could not be downloaded: {error}. Check the address and the network, or give a local path."
        raise ToymillError(msg) from None
    content = path.read_bytes() if member is None else _member(path, member, url)
    temporary = output.with_name(f".{output.name}.part")
    temporary.write_bytes(content)
    temporary.replace(output)


def _download(url: str, digest: str, tries: int = 3) -> Path:
    """The file that the address gives, with this digest. A network that fails is asked again."""
    try:
        return Path(pooch.retrieve(url, f"sha256:{digest}", fname=_DOWNLOAD, path=FETCHED / digest))
    except requests.RequestException:
        if tries == 1:
            raise
        return _download(url, digest, tries - 1)


def _member(archive: Path, member: str, url: str) -> bytes:
    """The content of one file in a tar or zip archive."""
    content: bytes | None = None
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            names = zipped.namelist()
            if member in names:
                content = zipped.read(member)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tarred:
            names = tarred.getnames()
            stream = tarred.extractfile(member) if member in names else None
            content = stream.read() if stream is not None else None
    else:
        msg = f"{url} is neither a tar nor a zip archive, but member {member!r} is asked for. Leave member out."
        raise ToymillError(msg)
    if content is None:
        msg = f"{url} holds no file {member!r}. {nearest(member, names)}"
        raise ToymillError(msg)
    return content
