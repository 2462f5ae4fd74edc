"""The command ``toymill``: what its commands do before a study runs, and what each says of a mistake, in a line."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from commands import failed
from patch_sets import write_scan
from typer.testing import CliRunner

import toymill
from toymill.cli import check, doctor, manual, run, studies
from toymill.cli.app import app
from toymill.cli.console import at_work
from toymill.config.designed import planned
from toymill.config.scan import ScanConfig
from toymill.config.study import read_study
from toymill.results.plan import EnsemblePlan, Plan
from toymill.study.expected import (
    COUNTED,
    DRAWN,
    PLANNED,
    SHOWN,
    SNAKEMAKE,
    SUMMARY,
    WRITTEN,
    AuditRate,
    Expected,
    Part,
    ScanRate,
    expected,
)

COMMANDS = ("new", "check", "run", "watch", "show", "replay", "inspect", "doctor", "manual", "init")
LIGHT = ["--help", "run --help", "new {ws} --force", "show {empty}", "watch {empty} --once", "inspect {ws}"]


@pytest.fixture
def here(root, tmp_path, monkeypatch):
    """An empty folder with a workspace, to work in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ws.json").write_text((root / "tests/data/onoff.json").read_text())
    return tmp_path


def write_study(folder, **changes):
    content = {"study": "small", "model": "ws.json", "ensembles": {"one": {"truth": {"mu": 1.0}, "toys": 140}}}
    (folder / "small.yaml").write_text(yaml.safe_dump(content | changes))
    return folder / "small.yaml"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name):
    told = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "120"})
    assert told.exit_code == 0
    assert f"Example: toymill {name}" in told.output


def test_the_command_lists_its_commands(toy_mill):
    listed = CliRunner().invoke(app, ["--help"]).output
    assert all(f" {name} " in listed for name in COMMANDS)
    assert toy_mill("--version")[1] == f"toymill {toymill.__version__}\n"


def test_light_commands_import_no_jax(here):
    """Help imports no more than the command-line library; others no JAX, which takes seconds to start."""
    (here / "results/empty").mkdir(parents=True)
    (here / "results/empty/study.json").touch()
    code = "import sys; from toymill.cli import main\nfor words in WORDS: main(words.split())\nprint(*sys.modules)"
    words = [item.format(ws="ws.json", empty="results/empty") for item in LIGHT]
    for several, heavy in ((words[:2], ("jax", "numpy", "scipy")), (words, ("jax",))):
        done = subprocess.run(
            [sys.executable, "-c", f"WORDS = {several}\n{code}"], capture_output=True, text=True, check=True
        )
        assert not set(heavy) & set(done.stdout.splitlines()[-1].split())


def test_what_is_no_command(toy_mill):
    assert "Did you mean 'show'" in failed(toy_mill("shw"), 2)
    assert "toymill new --help" in failed(toy_mill("new"), 2)


@pytest.mark.parametrize(
    "words", [(), ("--limit", "--discovery", "--interval", "--goodness-of-fit", "--impacts", "--region")]
)
def test_new_writes_a_study_that_can_be_run(toy_mill, here, words):
    """Without a question it has truth points; its comments are keys with their defaults."""
    code, out, _ = toy_mill("new", "ws.json", "--name", "mine", *words)
    assert (code, out.split()[:2]) == (0, ["Written:", "mine.yaml."])
    study = studies.checked(here / "mine.yaml")
    text = (here / "mine.yaml").read_text()
    asked = [name for name in ("limit", "discovery", "interval", "region") if getattr(study, name)]
    assert bool(asked) == bool(words) != bool(study.ensembles)
    assert "# parameter of interest: mu" in text
    uncommented = "\n".join(line.replace("# ", "", 1) if ": " in line else line for line in text.splitlines()[2:])
    assert "seed: 0" in uncommented


def test_every_commented_key_of_a_new_study_is_its_default(toy_mill, here):
    toy_mill("new", "ws.json", "--limit", "-o", "mine.yaml")
    lines = (here / "mine.yaml").read_text().splitlines()
    opened = [
        line.replace("# ", "", 1) if line.startswith(("  # level", "  # toys", "# seed")) else line for line in lines
    ]
    assert opened != lines
    assert read_study(yaml.safe_load("\n".join(opened))) == studies.stated(here / "mine.yaml")


def test_new_writes_a_scan(toy_mill, here):
    """Of the signals of a patch set, on a workspace without one; a question about one of them needs its name."""
    write_scan(here, masses=(2, 4))
    assert toy_mill("new", "background.json", "--scan", "patchset.json", "-o", "scan.yaml")[0] == 0
    study = studies.checked(here / "scan.yaml")
    assert study.scan == ScanConfig(patches="patchset.json")
    assert "# limit: {}" in (here / "scan.yaml").read_text()
    assert "no file 'none.json'" in failed(toy_mill("new", "background.json", "--scan", "none.json"))
    told = toy_mill("new", "background.json", "--scan", "patchset.json", "--limit")[2]
    assert "name the signal that limit is about" in told
    words = ("--limit", "--signal", "patchset.json:m4", "-o", "both.yaml")
    assert toy_mill("new", "background.json", "--scan", "patchset.json", *words)[0] == 0
    assert studies.checked(here / "both.yaml").model.patches[0].patch == "m4"


def test_mistakes_of_new(toy_mill, here):
    assert "no file 'was.json'" in failed(toy_mill("new", "was.json"))
    (here / "ws.yaml").touch()
    assert "ws.yaml is there already" in failed(toy_mill("new", "ws.json"))
    assert "study: expected letters" in toy_mill("new", "ws.json", "--name", "a b", "-o", "b.yaml")[2]
    assert "Did you mean 'mu'" in failed(toy_mill("new", "ws.json", "--poi", "nu", "-o", "c.yaml"))
    (here / "set.json").write_text(json.dumps({"patches": []}))
    assert "set.json" in failed(toy_mill("new", "ws.json", "--signal", "set.json:a", "-o", "d.yaml"))
    assert not (here / "c.yaml").exists()


def test_inspect_tells_what_a_workspace_holds(toy_mill, root):
    code, out, _ = toy_mill("inspect", root / "config/workspaces/hww.json")
    assert code == 0
    assert "1 channel of 20 bins, 29 parameters: 28 with a constraint" in out
    assert "parameter of interest: mu, 1 at first, within [-5, 10]" in out
    assert all(word in out for word in ("classifier", "Zgamma", "mcstat[17]"))
    assert "JSON" in failed(toy_mill("inspect", root / "README.md"))


def test_a_workspace_without_its_signal(toy_mill, root):
    """It can be looked at; a study about it is told how to name a signal, in words of the command line."""
    path = root / "config/workspaces/atlas-3l-erjr/BkgOnly.json"
    code, out, _ = toy_mill("inspect", path)
    assert code == 0
    assert "no parameter of interest: name one with --poi, or a signal with --signal PATCH" in out
    told = failed(toy_mill("new", path, "--limit"))
    assert "--signal set.json:name" in told
    assert "patches:" not in told


@pytest.mark.long
def test_the_pilot_of_a_study_that_asks_a_question(toy_mill, here):
    """Its truth points are chosen, and their fits are timed, as in the workflow."""
    path = write_study(here, limit={"points": 5, "toys": 200, "background_toys": 300})
    code, out, _ = toy_mill("check", path)
    assert code == 0
    assert "chosen later" not in out
    assert "expected time of one core: fits " in out
    assert " (7 jobs), audits " in out


def test_check_without_a_pilot(toy_mill, here):
    path = write_study(here, limit={"points": 5, "toys": 200})
    code, out, _ = toy_mill("check", path, "--no-pilot")
    assert code == 0
    assert "which asks for limit" in out
    assert "signal-05" in out
    assert f"Next: toymill run {path}" in out


def made_up(content, *, intervals=0.0, rate=None):
    """What a study takes of which every toy is fitted in 10 ms, in shards of 300, by jobs that start in 2 s.

    Of an audit's job iminuit needs 1 s to start, and 0.05 s a fit.
    """
    study = planned(read_study({"study": "s", "model": {"kind": "onoff"}} | content))
    known = {name: item.model_copy(update={"truth": {"s": 1.0}}) for name, item in study.ensembles.items()}
    about = EnsemblePlan(measured="", shard=300, seconds_a_toy=0.01, interval_seconds_a_toy=intervals)
    plan = Plan(
        toymill="", study="s", start_seconds=2.0, compile_seconds=9.0, ensembles=dict.fromkeys(study.ensembles, about)
    )
    with_truth = study.model_copy(update={"ensembles": known})
    audit = AuditRate(1.0, 0.05)
    return expected(with_truth, plan, "s", parameters=2, data=2, audit=audit, rate=rate, before=[4.0, 5.0], start=1.0)


ONE = {"truth": {"s": 1.0}, "toys": 1000}


def test_what_a_study_will_take():
    """Fits, audits of five toys, figures; and the jobs that the others wait for, whose time no cores divide."""
    takes = made_up({"ensembles": {"a": ONE}})
    assert takes.fits == (4, pytest.approx(4 * 2 + 1000 * 0.01), pytest.approx(2 + 3.0))
    assert takes.intervals.jobs == 0
    assert takes.audits == (1, pytest.approx(3 + 5 * 2 * 0.05), pytest.approx(3.5))
    assert takes.beside == (4, pytest.approx(2 + DRAWN + 2 * SHOWN), DRAWN)  # the model, figures, the page of toys
    alone = 4.0 + 5.0 + 3 * WRITTEN + COUNTED * 1000 * 2 * 3 + SNAKEMAKE + 9 * PLANNED
    assert takes.alone == (5, pytest.approx(alone), 5.0)
    shared = 4 * 2 + 10 + 3.5 + takes.beside.core_seconds
    assert takes.core_seconds == pytest.approx(alone + shared)
    assert takes.seconds(100) == pytest.approx(alone + 5.0)
    assert takes.seconds(2) == pytest.approx(alone + shared / 2)
    assert takes.bytes == 1000 * (2 * 21 + 3 * 8 * 2)


def test_what_a_study_will_take_is_what_it_asks_for(here):
    """Profile intervals, a number of audited toys or none, what is kept, a scan, and the ensembles of sections."""
    asks = {"ensembles": {"a": ONE | {"profile_intervals": ["s"]}, "b": ONE}, "fit": {"audit": 50}}
    takes = made_up(asks, intervals=0.05)
    assert takes.intervals == (4, pytest.approx(4 * 2 + 1000 * 0.05), pytest.approx(2 + 15.0))
    assert takes.audits == (2, pytest.approx(2 * (3 + 50 * 2 * 0.05)), pytest.approx(8.0))
    assert made_up(asks | {"fit": {"audit": 0}}).audits.core_seconds == pytest.approx(2 * 2)
    assert made_up({"ensembles": {"a": ONE}, "keep": "poi", "keep_toys": True}).bytes == 1000 * (2 * 29 + 8 + 16)
    assert made_up({"ensembles": {"a": ONE}, "keep": "summary"}).bytes == 4 * SUMMARY
    write_scan(here, masses=(2, 4))
    scan = {
        "model": "background.json",
        "scan": {"patches": "patchset.json", "toys": 300, "signal_toys": 100},
        "shard": 200,
    }
    takes = made_up(scan, rate=ScanRate(1.0, 0.02))
    assert takes.scan == (4, pytest.approx(4 * 3 + 2 * 400 * 0.02), pytest.approx(3 + 300 * 0.02))
    assert takes.audits == (2, pytest.approx(2 * (4 + 5 * 3 * 0.05)), pytest.approx(4.75))
    section = made_up({"limit": {"points": 5, "toys": 400, "background_toys": 500}})
    assert section.fits.jobs == 5 * 2 + 2
    assert section.audits.jobs == 2
    assert (
        section.beside.jobs == 4
    )  # the model, coverage, the page of toys, the answer: its truth points have no figures
    assert section.alone.jobs == takes.alone.jobs + 1


def test_what_is_not_estimated_is_named(here):
    """Toys that rounds add, fits by channel, and a scan's tilted toys."""
    region = {"parameters": ["mu", "b"], "precision": 0.1}
    precise = {"limit": {"precision": 0.1}, "interval": {"precision": 0.1}, "region": region}
    path = write_study(here, **precise, goodness_of_fit={"channel_compatibility": True})
    told = list(check.not_estimated(studies.stated(path)))
    assert [line.partition(":")[0] for line in told] == [
        "limit.precision",
        "interval.precision",
        "region.precision",
        "goodness_of_fit.channel_compatibility",
    ]
    assert list(check.not_estimated(studies.stated(write_study(here)))) == []
    (told,) = check.not_estimated(read_study(write_scan(here, masses=(2, 4))))
    assert told.startswith("scan.tilted_toys: ")


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_mistake_in_a_study_is_told_before_anything_runs(toy_mill, here, monkeypatch, command):
    monkeypatch.setattr(run, "become", None)
    assert "no file 'none.yaml'" in failed(toy_mill(command, "none.yaml"))
    (here / "bad.yaml").write_text("study: [")
    assert "bad.yaml, line 1" in failed(toy_mill(command, "bad.yaml"))
    code, _, told = toy_mill(command, write_study(here, sed=1))
    assert code == 1
    assert "  - sed: unknown key. Did you mean 'seed'?" in told
    assert "Did you mean 'mu'" in failed(toy_mill(command, write_study(here, ensembles={"a": {"truth": {"nu": 1.0}}})))
    assert "there is no file 'was.json'" in failed(toy_mill(command, write_study(here, model="was.json")))


def test_run_becomes_snakemake(toy_mill, here, root, monkeypatch):
    """With the workflow of the clone, the profile's folder, and all arguments that it does not know."""
    became = []
    monkeypatch.setattr(run, "become", lambda command, variables: became.append((command, variables)))
    path = write_study(here)
    assert toy_mill("run", path, "--cores", "3", "-n", "--workflow-profile", "slurm", "--quiet=all")[0] == 0
    (command, variables), *_ = became
    profile = root / "workflow/profiles/slurm"
    expected = ["--snakefile", str(root / "Snakefile"), "--configfile", str(path), "--workflow-profile", str(profile)]
    assert command == [sys.executable, "-m", "toymill.cli.snakemake", *expected, "--cores", "3", "-n", "--quiet=all"]
    assert "XDG_CACHE_HOME" in variables
    assert "Did you mean 'slurm'" in failed(toy_mill("run", path, "--workflow-profile", "slrm"))
    (here / "results").touch()
    assert "results is a file" in failed(toy_mill("run", path))
    toy_mill("run", path, "--config", "study=other")
    assert len(became) == 2  # what other options change is checked by the workflow


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["small.yaml", "--configfile", "other.yaml"], "Leave the option out"),
        (["-n", "small.yaml"], "The study comes first"),
    ],
)
def test_arguments_that_run_refuses(toy_mill, here, words, said):
    write_study(here)
    assert said in failed(toy_mill("run", *words))


def test_a_name_with_a_line_end_stays_in_its_comment(toy_mill, here):
    (here / "ws.json").write_text((here / "ws.json").read_text().replace('"name": "off"', '"name": "off\\nfoo: ["'))
    assert toy_mill("new", "ws.json", "--name", "made")[0] == 0
    assert [*yaml.safe_load((here / "made.yaml").read_text())][:2] == ["study", "model"]


def test_the_exit_code_of_run_is_that_of_snakemake(here):
    path = write_study(here)
    done = subprocess.run(
        [sys.executable, "-m", "toymill", "run", path, "--no-such-option"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--no-such-option" in done.stderr


def test_init_writes_the_workflow_into_a_folder(toy_mill, here, root, monkeypatch):
    """Beside other files; again where it is already, if nothing was changed."""
    (here / "mine").mkdir()
    (here / "mine/data.txt").touch()
    assert toy_mill("init", "mine")[0] == 0
    assert (here / "mine/workflow/Snakefile").read_text() == (root / "workflow/Snakefile").read_text()
    assert not list((here / "mine").rglob("__pycache__"))
    assert studies.workflow_folder() == root
    monkeypatch.chdir(here / "mine")
    assert studies.workflow_folder() == here / "mine"
    assert studies.checked(here / "mine/config/config.yaml").study == "hww"
    (here / "mine/workflow/Snakefile").unlink()
    assert toy_mill("init")[0] == 0
    assert (here / "mine/workflow/Snakefile").exists()


def test_init_refuses_what_it_would_replace(toy_mill, here):
    """By name, before anything is written."""
    (here / "Snakefile").write_text("mine")
    (here / "envs").touch()
    told = failed(toy_mill("init"))
    assert told.startswith("toymill: Snakefile, envs/")
    assert "are there already with another content" in told
    assert not (here / "workflow").exists()
    assert (here / "Snakefile").read_text() == "mine"
    assert "is a file" in failed(toy_mill("init", here / "ws.json"))


def test_the_manual_has_every_page_that_messages_name(toy_mill, root):
    """The page of keys, and those of docs/ but for those that point elsewhere."""
    listed = toy_mill("manual")[1]
    assert all(f" {name} " in listed for name in ("keys", "clusters", "python-models"))
    assert not any(f" {name} " in listed for name in ("configuration", "index", "changelog"))
    for page, path in (("keys", "config/README.md"), ("docs/clusters.md", "docs/clusters.md")):
        code, out, _ = toy_mill("manual", page)
        assert (code, out.strip()) == (0, (root / path).read_text().strip())
    assert "Did you mean 'keys'" in failed(toy_mill("manual", "key"))
    named = {
        word
        for path in (root / "src/toymill").rglob("*.py")
        for word in re.findall(r"toymill manual ([a-z-]+)", path.read_text())
    }
    assert {"keys", "clusters"} <= named <= set(manual.pages())


def test_a_package_without_the_workflow_says_so(monkeypatch):
    monkeypatch.setattr(studies, "PARTS", ("no-such-file",))
    with pytest.raises(toymill.ToymillError, match="Install toymill again"):
        studies.packed_workflow()


def test_the_doctor_looks_at_everything(toy_mill, monkeypatch):
    code, out, _ = toy_mill("doctor")
    assert code == 0
    assert all(word in out for word in ("Python", "JAX", "float64", "cpu", "disk", "Snakemake", "profile slurm"))
    monkeypatch.setattr(doctor, "of_jax", lambda: [doctor.Finding("JAX", "missing", "not there")])
    assert toy_mill("doctor")[0] == 1


def test_check_asks_the_pilot_what_a_study_takes(toy_mill, here, monkeypatch):
    path = write_study(here)
    takes = Expected(Part(4, 30.0, 20.0), Part(1, 200.0, 200.0), Part(), Part(), Part(2, 80.0, 50.0), Part(), 14840)
    monkeypatch.setattr(check, "piloted", lambda stated, *_: (stated, takes, ["some toys are odd"]))
    monkeypatch.setattr(check, "cores_here", lambda: 2)
    code, out, _ = toy_mill("check", path)
    assert code == 0
    assert "expected time of one core: fits 3.3 min (1 job), audits 1.3 min (2 jobs), design, pilot" in out
    assert "; about 3.8 min in all on the 2 cores here" in out
    assert "\r" not in out
    assert "14.8 kB of disk" in out
    assert "Look at: some toys are odd" in out


def test_what_is_done_is_told_on_a_terminal_alone(monkeypatch, capsys):
    """In a line of stderr that is gone at the end; a pipe gets none of it."""
    with at_work() as say:
        say("Fitting")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with at_work() as say:
        say("Compiling")
        say("Fitting")
    out, told = capsys.readouterr()
    assert out == ""
    assert told.split("\r\x1b[2K") == ["", "Compiling …", "Fitting …", ""]
