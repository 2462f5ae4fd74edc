"""What to say of a key that is unknown where it stands: its name here, or the place where it belongs. Needs no JAX."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from toymill.errors import near, nearest

SYNONYMS = {
    "level": "cl confidence confidencelevel conflevel credibility",
    "levels": "cl cls confidencelevel confidencelevels",
    "toys": "ntoys numtoys numberoftoys ntoy toy pseudoexperiments npseudoexperiments nexp nexperiments",
    "background_toys": "btoys ntoysb toysb bkgtoys",
    "poi": "poiname parameter parameterofinterest pois",
    "model": "workspace likelihood spec",
    "path": "file filename workspace",
    "patches": "patch signal signals patchset",
    "study": "name title",
    "seed": "randomseed rng rngseed randomstate",
    "tests": "test hypotheses hypothesis muhyp testpoi",
    "truth": "true truths at generate generated mutrue parameters",
    "values": "mu muvalues poivalues scan grid range testvalues",
    "points": "npoints numpoints nscan steps",
    "statistic": "teststat teststatistic stat qtilde",
    "injected": "signal mu strength injection",
    "init": "inits initial value start nominal",
    "bounds": "bound range limits min max",
    "fixed": "fix const constant frozen",
    "shard": "batch batchsize chunk chunksize toysperjob",
    "modifier_settings": "interpolation interpcode interpcodes modifiersettings",
    "figures": "plots plot figure",
    "goodness_of_fit": "gof",
    "discovery": "significance q0",
    "limit": "upperlimit upperlimits limits",
    "interval": "feldmancousins fc intervals",
    "keep": "store output save",
}
"""Keys, each with words that others use for it; which of them is meant is told by where the word stands."""

NOTES = {"alpha": ("level", "which is 1 - alpha"), "size": ("level", "which is 1 less the size of the test")}
"""Words for what is not the key itself, with the key and what it is of them."""


def advice_on_key(word: str, known: Sequence[str], places: Mapping[str, Sequence[str]]) -> str:
    """What to do about an unknown key.

    Args:
        word: the key as it was given.
        known: the keys that may stand there.
        places: the keys that may stand elsewhere, by where.

    Example:
        >>> advice_on_key("cl", ["level", "toys"], {}), advice_on_key("toys", ["seed"], {"limit": ["toys"]})
        ("Did you mean 'level'?", "'toys' is a key of limit.")
    """
    plain = re.sub(r"[^a-z0-9]", "", word.lower())
    key, note = NOTES.get(plain, ("", ""))
    meant = [key] if key else [key for key, words in SYNONYMS.items() if plain in words.split()]
    here = [item for item in meant if item in known]
    if here:
        return f"Did you mean {' or '.join(map(repr, here))}{', ' * bool(note)}{note}?"
    close = near(word, known)
    for item in [
        word,
        *(meant if "study" in known and not close else []),
    ]:  # what a study itself has not, its sections may
        where = [place for place, keys in places.items() if item in keys]
        if where:
            other = f" Or did you mean {' or '.join(map(repr, close))}?" if close else ""
            of_note = f", {note}," if note else ""
            return f"{item!r}{of_note} is a key of {', '.join(where)}.{other}"
    return nearest(word, known)
