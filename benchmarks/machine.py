"""Where a benchmark ran, as its JSON and its first line tell it."""

import platform
from pathlib import Path
from types import ModuleType


def described(*modules: ModuleType) -> dict[str, object]:
    """Machine, processor, Python and the versions of modules."""
    return {
        "machine": platform.platform(),
        "processor": processor(),
        "python": platform.python_version(),
        "versions": {module.__name__: module.__version__ for module in modules},
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
