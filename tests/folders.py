"""Comparing what two runs of a study left."""

from pathlib import Path


def content(folder, *patterns):
    """The bytes of every file that a pattern finds in a folder, by its path in there."""
    paths = [path for pattern in patterns for path in Path(folder).glob(pattern) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def assert_same_results(one, other):
    """The fits of every shard and the summary, byte for byte, in two folders ``results/<study>``; no part of a file."""
    first, second = (content(folder, "fits/**/*", "fits/**/.*", "summary.json") for folder in (one, other))
    assert len(first) > 1
    assert not [name for name in first if name.endswith(".part")]
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []
