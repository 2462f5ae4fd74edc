"""Records: what the files of a study hold is stated once; schemas and tables of fields are made from it."""

import ast
import json

import pytest
from pydantic import BaseModel, ValidationError

from toymill.record import NumberOrNone, Record
from toymill.results.description import Description
from toymill.results.provenance import Provenance
from toymill.results.schema import PAGE, SCHEMAS, schema_text, with_tables
from toymill.results.summary import Comparison, ComparisonSummary, Summary


def records_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}.union(*(records_in(field.annotation) for field in annotation.model_fields.values()))
    return set().union(*map(records_in, getattr(annotation, "__args__", ())))


@pytest.mark.parametrize("kind", [Description, Summary, ComparisonSummary, Comparison, Provenance])
def test_every_field_has_a_meaning(kind):
    for record in records_in(kind):
        assert issubclass(record, Record)
        assert record.__doc__
        for key, field in record.model_fields.items():
            assert field.description, f"{record.__name__}.{key} has no docstring"


@pytest.mark.parametrize("path", SCHEMAS, ids=str)
def test_schema_files_are_current(root, path):
    assert (root / path).read_text(encoding="utf-8") == schema_text(SCHEMAS[path]), "run 'make schema'"


def test_tables_of_fields_are_current(root):
    page = (root / PAGE).read_text(encoding="utf-8")
    assert with_tables(page) == page, "run 'make schema'"


def test_a_page_without_a_place_for_its_tables_is_refused():
    with pytest.raises(ValueError, match=r"no place for the fields of model\.json"):
        with_tables("# Files\n")


def test_what_is_not_finite_is_null_or_refused():
    class One(Record):
        sure: float
        maybe: NumberOrNone

    assert One(sure=1.0, maybe=float("nan")).model_dump() == {"sure": 1.0, "maybe": None}
    assert One(sure=1.0, maybe=float("-inf")).maybe is None
    with pytest.raises(ValidationError, match="finite number"):
        One(sure=float("inf"), maybe=None)
    with pytest.raises(ValidationError, match="Extra inputs"):
        One(sure=1.0, maybe=None, more=2)


def test_a_schema_describes_a_file(root):
    """As editors and other programs read it: every key of the summary, with its meaning."""
    schema = json.loads((root / "workflow/schemas/summary.schema.json").read_text(encoding="utf-8"))
    assert schema["$defs"]["EnsembleSummary"]["properties"]["certified"]["description"]
    assert schema["$defs"]["EnsembleSummary"]["additionalProperties"] is False


ALLOWED = (
    *(ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.With, ast.withitem, ast.Expr, ast.Assign),
    *(ast.Call, ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.keyword, ast.Tuple, ast.Starred),
    *(ast.Load, ast.Store),
)


def test_scripts_unpack_call_and_write(root):
    """No loop, choice or arithmetic: what a job does is a function of the engine, which is tested without Snakemake."""
    scripts = sorted((root / "scripts").glob("*.py"))
    assert scripts
    for path in scripts:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        others = {type(node).__name__ for node in ast.walk(tree) if not isinstance(node, ALLOWED)}
        assert not others, f"{path.name} has {others}"
        assert isinstance(tree.body[-1], ast.With)
        assert len(tree.body[-1].body) <= 3
