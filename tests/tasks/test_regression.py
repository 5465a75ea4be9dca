"""A task whose labels are numbers: squared error, correlations, label skew over quantile bins."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from ilora.clients.partition import LABEL_BINS, label_borders, label_groups
from ilora.lab import figures
from ilora.lab.captions import rounds
from ilora.records import main_score, score_text
from ilora.simulation.round_loop import Simulation
from ilora.tasks.metrics import METRICS
from ilora.training.losses import sample_losses
from tests.laws import compare
from tests.toy import server_logits, small_tasks, toy_experiment


@pytest.fixture(autouse=True, scope="module")
def tasks():
    with small_tasks():
        yield


@pytest.mark.parametrize("method", ["ilora", "fedit", "fedprox"])
def test_both_engines_agree_on_it(method):
    compare(toy_experiment(task="toy-numbers", method=method, optimizer="sgd"))


def test_a_round_is_scored_by_correlation_and_squared_error():
    simulation = Simulation(toy_experiment(task="toy-numbers", local_steps=20))
    record = [simulation.next_round() for _ in range(3)][-1]
    answers, labels = server_logits(simulation)[:, 0], simulation.client_data.test.labels.double().numpy()
    assert record.accuracy == record.scores["pearson"] == pytest.approx(stats.pearsonr(answers, labels).statistic, abs=1e-6)
    assert record.scores["spearman"] == pytest.approx(stats.spearmanr(answers, labels).statistic, abs=1e-6)
    assert record.loss == pytest.approx(((answers - labels) ** 2).mean(), abs=1e-5)
    assert record.accuracy > 0.5
    metrics = record.metrics()
    assert metrics["score pearson"] == record.accuracy
    assert score_text(metrics) == f"pearson {record.accuracy:.3f}"
    history = pd.DataFrame([metrics])
    assert rounds.accuracy(history).startswith("After round 3: test Pearson correlation 0.")
    figure = figures.over_rounds([figures.Trace("a", "ilora", history)], main_score(history.columns))
    assert list(figure.data[0].y) == [record.accuracy]


def test_label_skew_spreads_bins_that_hold_equally_many():
    simulation = Simulation(toy_experiment(task="toy-numbers", alpha=0.1))
    counts = simulation.facts.class_counts
    assert counts.shape == (3, LABEL_BINS) == (3, len(simulation.facts.classes))
    assert counts.sum(0).tolist() == [48] * LABEL_BINS
    labels = simulation.task.train.labels.numpy()
    groups = label_groups(labels)
    for group in range(1, LABEL_BINS):
        assert labels[groups == group].min() >= labels[groups == group - 1].max()
    assert (label_groups(np.array([-99.0, 99.0]), label_borders(labels)) == [0, LABEL_BINS - 1]).all()


@pytest.mark.parametrize("options", [{"objective": "pseudo-out"}, {"weighting": "confidence"}])
def test_what_needs_classes_is_refused_in_one_sentence(options):
    with pytest.raises(ValueError, match=r"needs classes, .* allowed are .*\.$"):
        toy_experiment(task="toy-numbers", method="fedit", options=options)
    with pytest.raises(ValueError, match="noisy_clients"):
        toy_experiment(task="toy-numbers", noisy_clients=1)


def test_losses_are_chosen_by_the_kind_of_label():
    logits, numbers = torch.tensor([[0.5], [2.0]]), torch.tensor([1.0, 0.0])
    assert sample_losses(logits, numbers).tolist() == [0.25, 4.0]
    assert (
        sample_losses(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.long)).tolist() == [[pytest.approx(np.log(4))] * 3] * 2
    )


@pytest.mark.parametrize("metric", METRICS)
def test_weights_count_samples_as_often_as_they_say(metric):
    draw = np.random.default_rng(0)
    labels, answers, times = draw.integers(0, 2, 30), draw.integers(0, 2, 30), draw.integers(0, 4, 30)
    repeated = METRICS[metric](np.repeat(answers, times), np.repeat(labels, times), None)
    if metric != "spearman":  # its ranks are those of the samples as they stand
        assert METRICS[metric](answers, labels, times.astype(float)) == pytest.approx(repeated)
    assert METRICS[metric](labels, labels, None) == pytest.approx(1)
    assert METRICS[metric](np.zeros(30, dtype=int), labels, None) == pytest.approx(
        (labels == 0).mean() if metric == "accuracy" else 0
    )
