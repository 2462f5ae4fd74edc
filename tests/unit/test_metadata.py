"""What others read of the repository: the Snakemake workflow catalog, and who cites it."""

import re
import tomllib

import yaml

from toymill._version import __version__


def test_the_workflow_catalog_can_list_the_workflow(root):
    """What it asks of a standardised workflow: its layout, its settings, a description and a licence."""
    for path in (
        "workflow/Snakefile",
        "workflow/rules",
        "config/README.md",
        "config/config.yaml",
        "README.md",
        "LICENSE",
    ):
        assert (root / path).exists()
    settings = yaml.safe_load((root / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))
    usage = settings["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    assert usage["software-stack-deployment"] == {"conda": True}
    rules = "".join(path.read_text(encoding="utf-8") for path in (root / "workflow/rules").glob("*.smk"))
    assert rules.count("conda:") == rules.count("script:")
    assert "Snakemake workflow" in (root / "README.md").read_text(encoding="utf-8")
    assert "## Keys" in (root / "config/README.md").read_text(encoding="utf-8")


def test_citations_name_this_version(root):
    """Zenodo takes its metadata from the same file."""
    cited = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    about = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert cited["type"] == "software"
    assert cited["version"] == __version__
    assert cited["license"] == about["license"]
    assert cited["keywords"] == about["keywords"]
    assert [item["name"] for item in cited["authors"]] == [item["name"] for item in about["authors"]]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", str(cited["date-released"]))
