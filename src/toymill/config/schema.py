"""The JSON schema of a configuration, for editors: ``python -m toymill.config.schema`` writes it anew."""

from __future__ import annotations

import json
from pathlib import Path

from toymill.config.study import Study

SCHEMA_FILE = Path("workflow/schemas/config.schema.json")


def schema_text() -> str:
    """The schema as JSON text; the study's own checks are made from the same classes."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Study.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
