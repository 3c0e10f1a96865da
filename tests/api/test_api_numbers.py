"""No number of a wire format takes a truth value: YAML's `yes` is never 1."""

import pytest
from pydantic import ValidationError

from carbonfleet.api import cluster, job, job_status, policy, report, spoke
from carbonfleet.api.wire import Wire

MODULES = cluster, job, job_status, policy, report, spoke


def number_fields():
    """Each model with the outer name of each of its fields that JSON Schema calls a number."""
    for module in MODULES:
        for model in vars(module).values():
            if isinstance(model, type) and issubclass(model, Wire) and model is not Wire:
                for name, field in model.model_json_schema(by_alias=True)["properties"].items():
                    kinds = {part.get("type") for part in [field, *field.get("anyOf", ())]}
                    if kinds & {"number", "integer"}:
                        yield model, name


@pytest.mark.parametrize("truth", [True, False])
def test_no_number_takes_a_truth_value(truth):
    fields = set(number_fields())
    assert len(fields) > 40
    for model, name in fields:
        with pytest.raises(ValidationError) as refused:
            model.model_validate({name: truth})
        said = {error["loc"]: error["msg"] for error in refused.value.errors()}
        assert "must be a number, not true or false" in said.get((name,), ""), (model, name, said)
