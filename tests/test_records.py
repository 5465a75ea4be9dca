"""A round is scalars and arrays, and is put together again from both."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ilora.api import simulate
from ilora.records import MOST_PAIRED, Round
from tests.toy import small_tasks, toy_experiment


@pytest.fixture(scope="module")
def record() -> Round:
    with small_tasks():
        return next(simulate(toy_experiment(ranks=[2, 4, 3])))


def test_a_round_is_rebuilt_from_its_metrics_and_arrays(record):
    again = Round.from_parts(json.loads(json.dumps(record.metrics())), record.arrays())
    assert again.metrics() == record.metrics()
    assert again.arrays().keys() == record.arrays().keys()
    for name, array in record.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)
    assert again.layers["query"].aggregation_error == record.layers["query"].aggregation_error
    assert isinstance(again.layers["query"].aggregation_error, float)
    assert again.snapshot == {}


def test_arrays_hold_numbers_only_and_metrics_plain_python(record):
    assert all(isinstance(array, np.ndarray) and array.dtype.kind in "fi" for array in record.arrays().values())
    assert all(type(value) in (int, float) for value in record.metrics().values())


def test_shapes_are_as_the_record_says(record):
    layer = record.layers["value"]
    assert layer.cosines.shape == layer.overlap_columns.shape == layer.overlap_rows.shape == layer.angles.shape == (3, 3)
    assert layer.singular_values.shape == layer.coverage.shape == (4,)
    assert layer.broadcast_error.shape == layer.drift_clients.shape == layer.overlap_columns_global.shape == (3,)
    assert record.factors["value/start/A"].shape == (3, 4, 10)
    assert record.factors["value/trained/B"].shape == (3, 14, 4)
    assert record.factors["value/server/A"].shape == (4, 10)
    assert MOST_PAIRED == 64


def test_a_score_is_named_by_the_tasks_metric_and_keeps_its_stored_name(record):
    assert (record.metric, record.score) == ("accuracy", record.accuracy)
    other = replace(record, accuracy=-0.2, scores={"matthews": -0.2, "accuracy": 0.5})
    assert (other.metric, other.score) == ("matthews", -0.2)
    assert other.metrics()["accuracy"] == -0.2
