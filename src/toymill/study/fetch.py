"""Downloading a published input: once, and only if its digest is the expected one."""

from __future__ import annotations

import ftplib
import hashlib
import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path

import pooch
import requests

from toymill.config.model import FETCHED, Remote
from toymill.errors import ToymillError, nearest
from toymill.results.files import write_bytes, write_text

LARGEST_MEMBER = 2**30
"""Bytes of a member of an archive, uncompressed; published workspaces have some 10⁸ at most."""

_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)
_DOWNLOAD = ".download"  # what the address gave, kept so that several members are one download


def fetch(remote: Remote, output: str | Path) -> None:
    """Download a file, or one member of an archive, to ``output``.

    Args:
        remote: where it is, and its digest.
        output: where to put it.

    Raises:
        ToymillError: no answer, another digest, an archive without the member, and what ``_member`` refuses.
    """
    output = Path(output)
    url, digest, member = remote.url, remote.sha256, remote.member
    pooch.get_logger().setLevel("WARNING")
    try:
        path = _download(url, digest)
    except (requests.RequestException, ftplib.Error, EOFError, OSError) as error:
        msg = f"{url} could not be downloaded: {error}. Check the address and the network, or give a local path."
        raise ToymillError(msg) from None
    except ValueError as error:
        msg = f"{url}: {error} Check the address, or whether the record has a new version."
        raise ToymillError(msg) from None
    content = path.read_bytes() if member is None else _member(path, member, url)
    write_text(output.with_name(f"{output.name}.sha256"), hashlib.sha256(content).hexdigest())
    write_bytes(output, content)


def _download(url: str, digest: str, tries: int = 3) -> Path:
    """The file that the address gives, with this digest. A network that fails is asked again."""
    try:
        return Path(pooch.retrieve(url, f"sha256:{digest}", fname=_DOWNLOAD, path=FETCHED / digest))
    except requests.RequestException:
        if tries == 1:
            raise
        return _download(url, digest, tries - 1)


def _member(archive: Path, member: str, url: str) -> bytes:
    """The content of one file in a tar or zip archive; nothing is unpacked to a name that the archive gives.

    Raises:
        ToymillError: no archive, or a damaged one, no such member, one that is no file (a folder, a link, a device), or
            one of more than ``LARGEST_MEMBER`` bytes.
    """
    try:
        content, names = _in_zip(archive, member) if zipfile.is_zipfile(archive) else _in_tar(archive, member)
    except _DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        msg = f"{url}: member {member!r} cannot be read ({reason}). Is it a tar or zip archive without a password?"
        raise ToymillError(msg) from None
    if content is None:
        msg = f"{url} holds no file {member!r}. {nearest(member, names)}"
        raise ToymillError(msg)
    if len(content) > LARGEST_MEMBER:
        msg = f"{url}: member {member!r} has more than {LARGEST_MEMBER} bytes. Unpack it yourself, and give its path."
        raise ToymillError(msg)
    return content


def _in_zip(archive: Path, member: str) -> tuple[bytes | None, list[str]]:
    """One byte more than the largest member at most, whatever the archive says of its size; and all names."""
    with zipfile.ZipFile(archive) as zipped:
        names = zipped.namelist()
        if member not in names or zipped.getinfo(member).is_dir():
            return None, names
        with zipped.open(member) as stream:
            return stream.read(LARGEST_MEMBER + 1), names


def _in_tar(archive: Path, member: str) -> tuple[bytes | None, list[str]]:
    with tarfile.open(archive) as tarred:
        names = tarred.getnames()
        entry = tarred.getmember(member) if member in names else None
        stream = tarred.extractfile(entry) if entry is not None and entry.isfile() else None
        return None if stream is None else stream.read(LARGEST_MEMBER + 1), names
