import subprocess
import sys

import toymill


def test_public_names():
    assert toymill.__all__ == [
        "EndStatus",
        "Fits",
        "Intervals",
        "Model",
        "NormalConstraint",
        "Parameter",
        "Parameters",
        "PoissonConstraint",
        "Ratios",
        "Results",
        "Status",
        "ToymillError",
        "ToymillWarning",
        "check_model",
        "define_model",
        "derivatives",
        "fit",
        "fit_tests",
        "lep_ratio",
        "load_model",
        "open_results",
        "profile_interval",
        "q_0",
        "q_mu",
        "qtilde_mu",
        "read_workspace",
        "t_mu",
        "test",
        "tevatron_ratio",
        "throw",
        "ttilde_mu",
    ]
    for name in toymill.__all__:
        assert getattr(toymill, name).__doc__


def test_unknown_name():
    assert not hasattr(toymill, "throws")


def test_configuration_does_not_import_jax():
    code = "import sys, toymill.config.inspection, toymill.config.study; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_job_that_fits_imports_no_more_than_it_needs():
    """Each job starts anew: scipy.stats alone is a quarter of the imports' time."""
    code = "import sys, toymill.study.shards; sys.exit(bool({'scipy.stats', 'pandas', 'matplotlib'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_model_says_what_it_is(onoff):
    assert repr(onoff).startswith("<Model of 2 data (observed) with 2 parameters, of interest mu; digest ")
    assert repr(onoff.parameters) == "<2 parameters, 0 fixed, 0 constrained: b, mu>"


def test_every_status_has_advice():
    for status in toymill.Status:
        assert status.advice.endswith(".")
    for end in toymill.EndStatus:
        assert end.advice.endswith(".")
