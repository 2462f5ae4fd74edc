"""How the report and the command line write numbers and names. Needs no matplotlib."""

from __future__ import annotations

import math

LARGEST_PLAIN = 1e7
"""Numbers from this on are written with a power of ten."""

SMALLEST_PLAIN = 1e-5
"""Numbers whose error is below this, too."""

_ROUNDING = 1e-14  # of a number, relative: a smaller error is no error of toys


def with_error(value: float | None, error: float | None) -> str:
    """A number and its error, both to two digits of the error; alone where it has none that is known.

    Example:
        >>> with_error(0.94891, 0.00687), with_error(1234567.0, 890.0), with_error(2.8712e-7, 6.2e-8)
        ('0.9489 ± 0.0069', '1234567 ± 890', '(2.87 ± 0.62)e-07')
        >>> with_error(None, 0.1), with_error(2.5, 0.0), with_error(125.0912, None), with_error(1 - 2e-16, 2e-17)
        ('undefined', '2.5', '125.1', '1')
    """
    if value is None or not math.isfinite(value):
        return "undefined"
    if error is None or not _ROUNDING * abs(value) < error < math.inf:
        return f"{value:.{4 if error is None else 6}g}"
    largest = max(abs(value), error)
    if largest >= LARGEST_PLAIN or error < SMALLEST_PLAIN:
        power = math.floor(math.log10(largest))
        digits = _digits(error / 10.0**power)
        return f"({_fixed(value / 10.0**power, digits)} ± {error / 10.0**power:.{digits}f})e{power:+03d}"
    digits = _digits(error)
    return f"{_fixed(value, digits)} ± {error:.{digits}f}"


def _fixed(value: float, digits: int) -> str:
    """A number to some digits; zero has no sign."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _digits(error: float) -> int:
    return min(max(0, 1 - math.floor(math.log10(error))), 20) if error > 0 else 2


def with_interval(value: float, low: float, high: float) -> str:
    """A number and its interval, all to two digits of half its width.

    Example:
        >>> with_interval(1.0013, 0.99998, 1.0151)
        '1.0013 (1.0000 to 1.0151)'
    """
    half = (high - low) / 2
    if not SMALLEST_PLAIN <= half < LARGEST_PLAIN or abs(value) >= LARGEST_PLAIN:
        return f"{value:.4g} ({low:.3g} to {high:.3g})"
    digits = _digits(half)
    return f"{_fixed(value, digits)} ({_fixed(low, digits)} to {_fixed(high, digits)})"


def number(value: float | None, digits: int = 4) -> str:
    """A number without an error; a dash where it is not defined."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


def per_cent(value: float | None, digits: int = 3) -> str:
    """A fraction in per cent."""
    if value is None or not math.isfinite(value):
        return "–"
    scaled = 100 * value
    return f"{scaled:.0f} %" if 100 <= abs(scaled) < LARGEST_PLAIN else f"{scaled:.{digits}g} %"


def quantile_name(sigma: str) -> str:
    """A quantile of the expected band, by how many standard deviations the data lie above the median.

    Example:
        >>> quantile_name("0"), quantile_name("-1"), quantile_name("2")
        ('median', '-1 σ', '+2 σ')
    """
    return "median" if sigma == "0" else f"{int(sigma):+d} σ"


def interval_error(low: float | None, high: float | None) -> float | None:
    """The error that an interval of 68.27 % stands for: half its width."""
    return None if low is None or high is None else (high - low) / 2


def sigmas(value: float | None, error: float | None) -> float | None:
    """How many errors a number lies from zero; None where that is not known."""
    return None if value is None or not error or not math.isfinite(error) else value / error


def in_sigmas(away: float | None) -> str:
    """A distance in errors; a dash where it is not known."""
    if away is None:
        return "–"
    return f"{away:+.1f} σ" if abs(away) < 10 else f"{away:+.0f} σ" if abs(away) < LARGEST_PLAIN else f"{away:+.1e} σ"


def counted(count: int, what: str) -> str:
    """A count with what is counted, in the plural where it is not one.

    Example:
        >>> counted(1, "truth point"), counted(12000, "toy")
        ('1 truth point', '12,000 toys')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def short_name(text: str, longest: int = 60) -> str:
    """A name on one line, without its middle where it is longer than it may be: names often differ at their ends.

    Example:
        >>> short_name("shape_mcstat_diboson_SRISR_obs_cuts[0]", 30)
        'shape_mcstat_di…SR_obs_cuts[0]'
    """
    line = one_line(text, max(len(text), longest) * 12)  # what is not printable takes up to twelve letters
    if len(line) <= longest:
        return line
    end = (longest - 1) // 2
    return f"{line[: longest - 1 - end]}…{line[-end:]}"


def one_line(text: str, longest: int = 120) -> str:
    """A name or a sentence on one line, what is not printable by its number, and not longer than it may be."""
    line = "".join(c if c.isprintable() else " " if c.isspace() else f"\\u{{{ord(c):x}}}" for c in text)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
