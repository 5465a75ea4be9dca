"""Round: everything that is known after a round, as plain numbers and numpy arrays: what is stored, drawn and tested.

Clients are listed in the order of `clients["id"]`; where an array is per pair of clients it covers the first
MOST_PAIRED of them.
"""

import json
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from html import escape
from typing import Any

import numpy as np

BINS = 10  # of equal width, into which answers are sorted by confidence
MOST_PAIRED = 64  # clients between which alignment and cosine are computed pair by pair

Array = np.ndarray
SCORE = "score "  # before a score's name among the metrics of a round


def main_score(names: Iterable[str]) -> str:
    """Which of a round's metrics is the task's own score: "accuracy", or "score <name>", the first of its scores."""
    first = next((name for name in names if name.startswith(SCORE)), "accuracy")
    return "accuracy" if first == f"{SCORE}accuracy" else first


def score_text(metrics: Mapping[str, float]) -> str:
    """The main score in a line of text: "accuracy 91.2%", "matthews 0.412"."""
    name = main_score(metrics)
    return f"accuracy {metrics[name]:.1%}" if name == "accuracy" else f"{name.removeprefix(SCORE)} {metrics[name]:.3f}"


@dataclass(frozen=True)
class LayerRecord:
    """Diagnostics of one adapted layer after one round; C clients took part, M = min(C, MOST_PAIRED).

    Errors are Frobenius norms; `relative` ones are divided by the norm of the ideal update. Overlaps are in 0..1,
    angles in degrees. An overlap or angle is NaN where a client's update is zero.
    """

    aggregation_error: float  # ||G - ideal||, absolute
    relative_error: float
    averaging_error: float  # relative: what the rule lost before it cut the rank
    truncation_error: float  # relative: what cutting to the server's rank lost
    update_norm: float  # ||G||
    ideal_norm: float
    weight_norm: float  # ||theta_0||
    drift: float  # D = sum p_k ||D_k - D||^2 / ||D||^2 over local movements D_k
    cosine: float  # mean cosine between the movements of two clients
    alignment: float  # mean overlap of column and row spaces over pairs of clients
    chance: float  # what `alignment` would be between random subspaces of these ranks
    effective_rank: float  # of G: exp of the entropy of its normalised singular values
    effective_rank_ideal: float
    energy_share: float  # of G: share of the squared singular values in the first r_min
    energy_share_ideal: float
    singular_values: Array  # (R,) of G, R = the server's rank, largest first
    singular_values_ideal: Array  # (R,) of the ideal update
    coverage: Array  # (R,) weight of the clients that own slot 1..R
    drift_clients: Array  # (C,) ||D_k - D|| / ||D||
    movement_norm: Array  # (C,) ||D_k||
    broadcast_error: Array  # (C,) ||W_k - W|| / ||G|| at the next broadcast, per client of this round
    cosines: Array  # (M, M) between movements
    overlap_columns: Array  # (M, M) phi between column spaces of movements
    overlap_rows: Array  # (M, M)
    overlap_chance: Array  # (M, M) chance level, mean of columns and rows
    angles: Array  # (M, M) mean principal angle between column spaces, degrees
    overlap_columns_global: Array  # (M,) phi between client and ideal movement
    overlap_rows_global: Array  # (M,)
    angles_global: Array  # (M,) mean principal angle to the ideal movement's column space, degrees
    step_error: float = 0.0  # relative: how far the server's own step (Adam, a dual shift) went from what the rule made


@dataclass(frozen=True, repr=False)
class Round:
    """One finished round. Layers are keyed by module name in model order; `clients` maps a column to (C, ...)."""

    index: int  # 1 is the first round
    accuracy: float  # the stored name of `score`, whatever the task's metric is
    loss: float
    train_loss: float  # mean over clients of their mean loss during local training, weighted by p_k
    aggregation_error: float  # relative, all layers together
    averaging_error: float
    truncation_error: float
    alignment: float  # mean over layers
    chance: float  # chance level of `alignment`
    drift: float  # mean over layers
    cosine: float
    effective_rank: float  # mean over layers
    energy_share: float
    moved_without_learning: float  # ||W_1 - theta_0|| / ||theta_0|| that the method's start and bookkeeping alone cause
    correction_ratio: float  # mean ||c - c_k|| / ||g||; 0 without a correction
    floats_up: int  # numbers sent by all clients together
    floats_down: int
    bytes_up: int
    bytes_down: int
    seconds: float
    forwards: int = 0  # samples that went through a client's model: training, gradients and probes; evaluation left out
    step_error: float = 0.0
    peak_megabytes: float = 0.0  # on CUDA of the round's tensors, elsewhere of the whole process so far; 0: not measured
    personal_accuracy: float = float("nan")  # mean of the clients' own, each weighted by its samples
    scores: dict[str, float] = field(default_factory=dict)  # the task's scores by name, the main one first; how sure models are
    clients: dict[str, Array] = field(default_factory=dict)
    # id · rank · samples · weight (p_k) · accuracy, loss (its trained model on the test set) · personal_accuracy (same, test set
    # re-weighted to the client's own class shares; under attribute skew in its own style) · train_loss · correction_ratio
    # · what ingredients leave in RoundLog.columns
    layers: dict[str, LayerRecord] = field(default_factory=dict)
    factors: dict[str, Array] = field(default_factory=dict)
    # "<layer>/start/A" (C, R, d_in), "<layer>/start/B" (C, d_out, R), "<layer>/trained/A", "<layer>/trained/B" of the first
    # MOST_PAIRED clients, "<layer>/server/A" (R, d_in), "<layer>/server/B" (d_out, R), and "<layer>/whole/A", "<layer>/whole/B":
    # all that the server's model differs from theta_0, what is merged included, in its up to 2R strongest directions
    pictures: dict[str, Array] = field(default_factory=dict)
    # of who = server, clients (the round's, as an ensemble), members (of a LoRA-Ensemble): "<who>/bins" (3, BINS) samples,
    # confidence and accuracy per bin of confidence; "<who>/single bins", the same of its members each for itself;
    # "<who>/probabilities" (members, samples, classes) for the first test samples; "labels" (samples,) their classes; in round 1
    # "images" (samples, C, H, W) uint8
    # · what ingredients leave in RoundLog.pictures
    snapshot: dict[str, Array] = field(default_factory=dict)  # what the next round needs; `simulate` takes it as `snapshot`

    def __repr__(self) -> str:
        plain = {name: round(value, 4) for name, value in self.metrics().items()}
        return brief("Round", {**plain, "clients": list(self.clients), "layers": list(self.layers)})

    @property
    def metric(self) -> str:
        """The name of the task's own score: "accuracy", "f1", "matthews", "pearson" or "spearman"."""
        return main_score(self.metrics()).removeprefix(SCORE)

    @property
    def score(self) -> float:
        """How good the server's model is on the test set by `metric`; an accuracy is in 0..1, a correlation in -1..1."""
        return self.accuracy

    def metrics(self) -> dict[str, float]:
        """The scalars of the round by name; its scores as "score <name>"."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.type in (int, float)}
        return plain | {f"{SCORE}{name}": value for name, value in self.scores.items()}

    def arrays(self) -> dict[str, Array]:
        """Everything but scalars and the snapshot, flat: clients/<column>, layers/<layer>/<field>, factors/<...>."""
        flat = {f"clients/{name}": np.asarray(column) for name, column in self.clients.items()}
        for layer, record in self.layers.items():
            flat |= {f"layers/{layer}/{f.name}": np.asarray(getattr(record, f.name)) for f in fields(record)}
        flat |= {f"pictures/{name}": array for name, array in self.pictures.items()}
        return flat | {f"factors/{name}": array for name, array in self.factors.items()}

    @classmethod
    def from_parts(cls, metrics: dict[str, Any], arrays: dict[str, Array]) -> "Round":
        """The round that `metrics` and `arrays` were taken from, without its snapshot."""
        clients: dict[str, Array] = {}
        factors: dict[str, Array] = {}
        pictures: dict[str, Array] = {}
        layers: dict[str, dict[str, Any]] = {}
        for name, array in arrays.items():
            kind, _, rest = name.partition("/")
            if kind == "clients":
                clients[rest] = array
            elif kind == "factors":
                factors[rest] = array
            elif kind == "pictures":
                pictures[rest] = array
            else:
                layer, _, column = rest.rpartition("/")
                layers.setdefault(layer, {})[column] = array if array.ndim else array.item()
        records = {layer: LayerRecord(**columns) for layer, columns in layers.items()}
        plain = {name: value for name, value in metrics.items() if not name.startswith(SCORE)}
        scores = {name.removeprefix(SCORE): value for name, value in metrics.items() if name.startswith(SCORE)}
        return cls(**plain, scores=scores, clients=clients, layers=records, factors=factors, pictures=pictures)


@dataclass(frozen=True)
class RunFacts:
    """What is fixed for a whole run and known once it starts: who holds what, and on what it runs."""

    clients: int
    ranks: Array  # (K,)
    samples: Array  # (K,)
    class_counts: Array  # (K, classes), by the true labels
    classes: tuple[str, ...]  # of a regression: the bins of its labels
    layers: tuple[str, ...]  # adapted layers in model order
    shapes: tuple[tuple[int, int], ...]  # (d_out, d_in) of each
    device: str
    precision: str
    threads: int
    test_samples: int
    backbone_parameters: int
    adapter_parameters: Array  # (K,) trainable numbers of each client's adapters
    head_parameters: int
    styles: tuple[str, ...] = ()  # (K,) under attribute skew: the style in which each client sees its samples
    noisy: tuple[int, ...] = ()  # clients that hold random labels

    def to_json(self) -> str:
        """The facts as JSON."""
        return json.dumps(asdict(self), default=lambda value: value.tolist())

    @classmethod
    def from_json(cls, text: str) -> "RunFacts":
        """Rebuild the facts; KeyError, TypeError or ValueError if something is missing or too much."""
        values = json.loads(text)
        for name in ("ranks", "samples", "class_counts", "adapter_parameters"):
            values[name] = np.asarray(values[name], dtype=np.int64)
        values["classes"], values["layers"] = tuple(values["classes"]), tuple(values["layers"])
        values["shapes"] = tuple((rows, columns) for rows, columns in values["shapes"])
        values["styles"] = tuple(values.get("styles", ()))
        values["noisy"] = tuple(values.get("noisy", ()))
        return cls(**values)


MOST_SHOWN = 900  # characters


def brief(name: str, values: Mapping[str, Any]) -> str:
    """`name(field=value, ...)`, long values and long lists of fields cut."""
    text = ", ".join(f"{field}={reprlib.repr(value)}" for field, value in values.items())
    return f"{name}({text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + '...'})"


def html_table(title: str, values: Mapping[str, Any]) -> str:
    """A table with one row per field, as HTML."""
    rows = (f"<tr><th>{escape(field)}</th><td>{escape(reprlib.repr(value))}</td></tr>" for field, value in values.items())
    return f"<table><caption>{escape(title)}</caption>{''.join(rows)}</table>"
