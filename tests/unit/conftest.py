"""What the tests of several modules are given."""

from commands import toy_mill

__all__ = ["toy_mill"]
