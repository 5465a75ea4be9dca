"""The scores that tasks are known by, each a function of answers, labels and weights, from scikit-learn and scipy."""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import f1_score, matthews_corrcoef

Array = np.ndarray
Metric = Callable[[Array, Array, Array | None], float]


def accuracy(answers: Array, labels: Array, weights: Array | None = None) -> float:
    """Share of right answers."""
    return float(np.average(answers == labels, weights=weights))


def f1(answers: Array, labels: Array, weights: Array | None = None) -> float:
    """Harmonic mean of precision and recall of class 1; 0 where class 1 neither occurs nor is answered."""
    return float(f1_score(labels, answers, sample_weight=weights, zero_division=0))


def matthews(answers: Array, labels: Array, weights: Array | None = None) -> float:
    """Matthews correlation coefficient, -1..1; 0 where all answers or all labels are one class."""
    return float(matthews_corrcoef(labels, answers, sample_weight=weights))


def pearson(answers: Array, labels: Array, weights: Array | None = None) -> float:
    """Pearson correlation, -1..1; 0 where all answers or all labels are one number."""
    (var_x, cov), (_, var_y) = np.cov(answers, labels, aweights=weights, bias=True)
    return float(cov / np.sqrt(var_x * var_y)) if var_x > 0 and var_y > 0 else 0.0


def spearman(answers: Array, labels: Array, weights: Array | None = None) -> float:
    """Spearman correlation: Pearson's of the ranks."""
    return pearson(rankdata(answers), rankdata(labels), weights)


METRICS: dict[str, Metric] = {"accuracy": accuracy, "f1": f1, "matthews": matthews, "pearson": pearson, "spearman": spearman}
