"""What the app shows of the data is what a run would have."""

import numpy as np
import pytest

from ilora import figures, samples, sentences_inside
from ilora.experiment import Experiment
from ilora.partition import class_counts, partition
from ilora.tasks import load_task


def digits() -> samples.Samples:
    kept = samples.samples_of("digits")
    assert kept is not None
    return kept


def held_by(experiment: Experiment) -> samples.Holdings:
    held = samples.holdings(experiment)
    assert held is not None
    return held


def test_the_kept_samples_are_the_tasks_training_samples_in_order():
    data = load_task("digits").train
    kept = digits()
    np.testing.assert_array_equal(kept.labels, data.labels.numpy())
    np.testing.assert_allclose(kept.pictures / 255, data.inputs["pixel_values"][:, 0].numpy(), atol=1 / 255)


@pytest.mark.parametrize("skew", ["iid", "label", "shards", "quantity"])
def test_the_preview_is_the_partition_of_the_run(skew):
    e = Experiment(skew=skew, alpha=0.1, seed=3, clients=5)
    labels = load_task("digits").train.labels.numpy()
    expected = class_counts(labels, partition(labels, 5, skew, alpha=0.1, seed=3), 10)
    np.testing.assert_array_equal(held_by(e).counts, expected)


def test_the_effective_number_of_classes():
    assert samples.entropy(np.array([[10, 10, 0], [20, 0, 0], [99, 1, 0]])) == pytest.approx([2, 1, 1.058], abs=1e-3)


def test_a_client_with_few_samples_has_blanks():
    kept = digits()
    shown = samples.some_of(kept, np.array([5, 3]), 4)
    assert shown.shape == (4, 8, 8)
    assert not shown[2:].any()
    assert {int(label) for label in kept.labels[[3, 5]]} == {int(kept.labels[3]), int(kept.labels[5])}


def test_every_client_has_a_row_of_pictures():
    e = Experiment(clients=3)
    held = held_by(e)
    facts = samples.facts_of(e, held)
    kept = digits()
    figure = figures.picture_sheet([samples.some_of(kept, share, 6) for share in held.shares], e.client_ranks)
    assert figure.data[0].z.shape == (3 * 9, 6 * 9)
    assert list(figure.layout.yaxis.ticktext) == ["1 (r 2)", "2 (r 4)", "3 (r 8)"]
    assert "all clients" in sentences_inside.pictures(facts, 3)
    assert "samples" in sentences_inside.sizes(facts)
