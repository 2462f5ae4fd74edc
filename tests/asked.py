"""Studies with sections, from their design to their summary without a workflow."""

from toymill.config.designed import designed
from toymill.config.sections import region_ensembles, rounds
from toymill.config.study import read_study, shard_named, shard_of
from toymill.study.add_toys import add_toys
from toymill.study.answers import answer
from toymill.study.describe import describe
from toymill.study.design import design_study
from toymill.study.region_fits import fit_region_shard
from toymill.study.shards import fit_shard
from toymill.study.summarize import summarize


def stated(root, **changes):
    return read_study({"study": "asked", "model": str(root / "tests/data/onoff.json"), **changes})


def finish(before, folder):
    """A study from its design to its summary; with toys that are added, if a precision is asked for."""
    design, files, held = design_study(before), {}, {}
    for number in (*rounds(before), None):
        study = designed(before, design)
        description = describe(study)
        for name, ensemble in study.ensembles.items():
            first = sum(shard_named(path.stem).toys for path in files.get(name, []))
            if ensemble.toys > first:
                shard = shard_of(first, ensemble.toys - first)
                files.setdefault(name, []).append(folder / f"fits/{name}/{shard.name}.h5")
                files[name][-1].parent.mkdir(parents=True, exist_ok=True)
                if name in region_ensembles(study):
                    held.setdefault(name, []).append(folder / f"region/{name}/{shard.name}.h5")
                    fit_region_shard(study, design, name, shard, files[name][-1], held[name][-1])
                else:
                    fit_shard(study, name, shard, files[name][-1])
        if number is not None:
            design = add_toys(study, description, design, files, held)
    answers = answer(study, description, design, files, held)
    return study, design, summarize(study, description, files, answers=answers)
