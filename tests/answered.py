"""A whole study in one process: from its configuration to the answers of its sections."""

from toymill.config.designed import study_of
from toymill.config.study import Shard, read_study
from toymill.results.files import write_record
from toymill.study.answers import answer
from toymill.study.describe import describe
from toymill.study.design import design_study
from toymill.study.shards import fit_shard


def answered(content, folder):
    """The answers to a configuration's sections; its files are left in ``folder``."""
    design = design_study(read_study(content))
    write_record(folder / "design.json", design)
    study = study_of(content, folder / "design.json")
    files = {}
    for name, ensemble in study.ensembles.items():
        files[name] = [folder / f"fits/{name}/{0:09d}-{ensemble.toys - 1:09d}.h5"]
        files[name][0].parent.mkdir(parents=True)
        fit_shard(study, name, Shard(files[name][0].stem, 0, ensemble.toys), files[name][0])
    return answer(study, describe(study), design, files)
