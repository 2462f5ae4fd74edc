"""pyhf's functions of toys, with pyhf's signatures and returns, on toymill's fits: a ``pyhf.Model`` goes in as it is.

Names are those of pyhf 0.7.6, which has to be installed: ``pip install "toymill[pyhf]"``. How-tos ("Make pyhf's toys
fast") say what differs.
"""

from toymill.pyhf.calculator import EmpiricalDistribution, ToyCalculator
from toymill.pyhf.hypothesis_test import ToyErrors, hypotest
from toymill.pyhf.upper_limit import upper_limit

__all__ = ["EmpiricalDistribution", "ToyCalculator", "ToyErrors", "hypotest", "upper_limit"]
