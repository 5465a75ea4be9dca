"""The round loop against the papers: nothing moves where nobody learns, and a round is what dense arithmetic makes of it."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn import functional

from ilora.api import run, simulate
from ilora.clients.partition import partition
from ilora.clients.sampling import batch_plan, fresh_head, participants
from ilora.experiment import Experiment
from ilora.lora.scaling import Scaling
from ilora.randomness import numpy_generator
from ilora.simulation.round_loop import Simulation
from ilora.stages.initialise import Place, fresh, random
from ilora.training.hardware import pick_device
from tests.laws import assert_nothing_moves, assert_same_bits, bits, remembered
from tests.toy import (
    LAYERS,
    dense_qr,
    length,
    load_toy,
    small_tasks,
    toy_experiment,
    toy_model,
    toy_weight,
    updates,
)

MIXES = [[2, 4, 6], [3], [1, 1, 10], [10, 10, 2, 1], [5, 5]]
AGGREGATORS = ["concat-qr", "concat-pivoted-qr", "svd", "stack", "mean"]
PLAIN: list[tuple[str, dict[str, Any]]] = [("fedit", {}), ("flora", {}), ("flexlora", {})]
CORRECTED: list[tuple[str, dict[str, Any]]] = [
    *(("ilora", {"aggregate": aggregate, "correction": "none"}) for aggregate in AGGREGATORS),
    *(("ilora", {"control_scale": scale}) for scale in ("scaffold", "official")),
]
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("ilora", {"rescale": True}),
    ("ilora", {"initialise": "random"}),
    ("ilora", {"initialise": "fresh", "aggregate": "svd"}),
    ("flexlora", {"initialise": "qr"}),
    ("flora", {"correction": "control-variates"}),
    ("ilora", {"mode": "transported"}),
    ("ilora", {"mode": "transported", "coverage": "owners", "gradient": "steps"}),
]
MODES: list[tuple[str, dict[str, Any]]] = [("ilora", {}), ("ilora", {"mode": "paper"}), ("ilora", {"mode": "official"}), *PLAIN]
EVERYTHING = [
    *MODES,
    ("ilora", {"aggregate": "svd"}),
    ("ilora", {"aggregate": "concat-pivoted-qr"}),
    ("ilora", {"aggregate": "stack"}),
    ("ilora", {"mode": "transported"}),
]


def label(value: object) -> str:
    return "-".join(map(str, value.values())) if isinstance(value, dict) else str(value)


@pytest.fixture(autouse=True, scope="module")
def tasks():
    with small_tasks():
        yield


# Zero learning ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", MIXES, ids=str)
@pytest.mark.parametrize(("method", "options"), [*PLAIN, *CORRECTED, *OTHERS], ids=label)
def test_zero_learning_leaves_the_servers_function_unchanged(method, options, ranks):
    assert_nothing_moves(toy_experiment(method=method, options=options, ranks=ranks, local_steps=1, lr=0.0))


@pytest.mark.parametrize(("method", "options"), [*PLAIN, *CORRECTED, *OTHERS], ids=label)
def test_no_local_steps_leave_the_servers_function_unchanged(method, options):
    assert_nothing_moves(toy_experiment(method=method, options=options, ranks=[10, 4, 2, 1], local_steps=0))


@pytest.mark.parametrize("scaling", [0.5, "16/r", "8/sqrt(r)"])
@pytest.mark.parametrize("method", ["ilora", "fedit", "flora", "flexlora"])
def test_zero_learning_leaves_it_unchanged_under_every_scaling_and_partial_participation(method, scaling):
    assert_nothing_moves(
        toy_experiment(method=method, scaling=scaling, ranks=[2, 4, 6, 1, 10], participation=0.4, lr=0.0, optimizer="sgd")
    )


@pytest.mark.parametrize("method", ["ilora", "fedit", "flora", "flexlora"])
def test_zero_learning_leaves_the_vision_transformer_unchanged(method):
    assert_nothing_moves(toy_experiment(task="digits", method=method, ranks=[2, 6, 4], lr=0.0, local_steps=1))


@pytest.mark.parametrize("still", [{"lr": 0.0}, {"local_steps": 0}, {}], ids=["lr 0", "no steps", "learning"])
@pytest.mark.parametrize("ranks", MIXES, ids=str)
@pytest.mark.parametrize("mode", ["official", "paper"])
def test_official_and_paper_modes_move_by_as_much_as_the_round_says(mode, ranks, still):
    simulation = Simulation(toy_experiment(options={"mode": mode}, ranks=ranks, **still))
    record = simulation.next_round()
    sizes = np.array([len(simulation.client_data.shares[k]) for k in range(len(ranks))], float)
    moved = total = 0.0
    for name in LAYERS:
        theta = toy_weight(name).double().numpy()
        Q, R = dense_qr(theta)
        tau = 1e-4 * np.sqrt(theta.size)
        starts = {}
        for r in ranks:
            product = Q[:, :r] @ R[:r]
            starts[r] = product * (tau / length(product) if mode == "official" else 1)
        Q1, R1 = dense_qr(sum(n * starts[r] for n, r in zip(sizes / sizes.sum(), ranks, strict=True)))
        top = max(ranks)
        s = 16 / top if mode == "official" else 1.0
        G = s * Q1[:, :top] @ R1[:top] - starts[top]
        moved += length(G) ** 2
        total += length(theta) ** 2
        if still:
            np.testing.assert_allclose(updates(simulation)[name], G, atol=1e-5)
    assert record.moved_without_learning == pytest.approx(np.sqrt(moved / total), abs=1e-6)
    assert simulation.next_round().moved_without_learning == record.moved_without_learning


def test_official_mode_moves_even_with_equal_ranks_and_paper_mode_only_with_mixed_ones():
    moved = {
        (mode, len(set(ranks))): next(simulate(toy_experiment(options={"mode": mode}, ranks=ranks))).moved_without_learning
        for mode in ("official", "paper")
        for ranks in ([4, 4], [2, 6])
    }
    assert moved["paper", 1] < 1e-6 < 1e-2 < moved["paper", 2]
    assert moved["official", 1] > 1e-4


# A whole run against the papers in dense float64 --------------------------------------------------------------------------------


class Reference:
    """One client after another, with dense matrices in float64.

    ILoRA's concatenated QR and control variates (arXiv:2511.16069), FedIT's mean of factors (arXiv:2305.05644),
    FLoRA's stacking (arXiv:2409.05976) and FlexLoRA's truncated SVD (arXiv:2402.11505).
    """

    def __init__(self, experiment: Experiment, kind: str) -> None:
        self.e, self.kind = experiment, kind
        self.s = Scaling.parse("16/r" if kind == "official" else experiment.scaling or 1.0)
        self.data = load_toy().train
        self.ranks = experiment.client_ranks
        self.top = max(self.ranks)
        self.shares = partition(
            self.data.labels.numpy(), len(self.ranks), experiment.skew, alpha=experiment.alpha, seed=experiment.seed
        )  # fmt: skip
        self.theta = {name: toy_weight(name).double() for name in LAYERS}
        self.merged = {name: torch.zeros_like(theta) for name, theta in self.theta.items()}
        self.held: dict[str, dict[int, tuple[torch.Tensor, torch.Tensor]]] = {}  # per layer and rank, once there is any
        shapes = {f"head.{n}": t for n, t in toy_model().named_parameters() if n.startswith("classifier")}
        self.head = {n.removeprefix("head."): t.double() for n, t in fresh_head(shapes, experiment.seed).items()}
        self.c: dict[str, torch.Tensor] = {}
        self.c_k: list[dict[str, torch.Tensor]] = [{} for _ in self.ranks]

    @property
    def ilora(self) -> bool:
        return self.kind in ("corrected", "paper", "official")

    def initial(self, name: str, rank: int, round: int, client: int) -> tuple[torch.Tensor, torch.Tensor]:
        weight = toy_weight(name)
        if self.ilora:
            Q, R = dense_qr(self.theta[name].numpy())
            A, B = R[:rank], Q[:, :rank]
            if self.kind == "official":
                kappa = np.sqrt(1e-4 * np.sqrt(weight.numel()) / length(B @ A))
                A, B = kappa * A, kappa * B
            return torch.tensor(A), torch.tensor(B)
        draw = fresh if self.kind == "flora" else random
        A, B = draw(weight, rank, self.s, Place(self.e.seed, name, round, client)).factors
        return A.double(), B.double()

    def offset(self, name: str, rank: int) -> torch.Tensor:
        if not self.ilora or (self.kind == "corrected" and self.held):
            return torch.zeros_like(self.theta[name])
        A, B = self.initial(name, rank, 0, 0)
        return (self.s(rank) if self.kind == "corrected" else 1.0) * B @ A

    def start(self, name: str, rank: int, round: int, client: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.held[name][rank] if self.held else self.initial(name, rank, round, client)

    def loss(self, own: dict[str, torch.Tensor], k: int, frozen: dict[str, torch.Tensor], index: torch.Tensor) -> torch.Tensor:
        weights = {f"{n}.weight": frozen[n] + self.s(self.ranks[k]) * own[f"{n}.B"] @ own[f"{n}.A"] for n in LAYERS}
        weights |= {n: own[n] for n in self.head}
        logits = functional_call(toy_model().double(), weights, (self.data.inputs["x"][index].double(),)).logits
        return functional.cross_entropy(logits, self.data.labels[index])

    def train(self, k: int, t: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Local training of client k: its tensors, and its new control variate."""
        r, own = self.ranks[k], {n: t.clone() for n, t in self.head.items()}
        for name in LAYERS:
            own[f"{name}.A"], own[f"{name}.B"] = self.start(name, r, t, k)
        own = {name: tensor.clone().requires_grad_() for name, tensor in own.items()}
        frozen = {name: self.theta[name] + self.merged[name] - self.offset(name, r) for name in LAYERS}
        share = torch.tensor(self.shares[k])
        pieces = [(self.loss(own, k, frozen, piece), len(piece)) for piece in share.split(self.e.batch_size)]
        if self.kind == "corrected":  # SCAFFOLD: the true mean gradient
            whole: Any = sum(loss * n for loss, n in pieces) / len(share)
        else:  # the authors' code: batch gradients summed, over the number of samples
            whole = sum(loss for loss, _ in pieces) / len(share)
        c_new = dict(zip(own, torch.autograd.grad(whole, list(own.values())), strict=True))
        optimizer = (
            torch.optim.AdamW(own.values(), lr=self.e.lr, weight_decay=0.0)
            if self.e.optimizer == "adamw"
            else torch.optim.SGD(own.values(), lr=self.e.lr, momentum=0.9)
        )
        plan = batch_plan(
            self.shares[k], self.e.local_steps, self.e.batch_size, numpy_generator(self.e.seed, "batches", t, k)
        )  # fmt: skip
        for index in torch.tensor(plan):
            optimizer.zero_grad()
            self.loss(own, k, frozen, index).backward()
            for name, tensor in own.items():
                if self.ilora and self.c:
                    assert tensor.grad is not None
                    tensor.grad += self.cut(self.c[name], tensor.shape) - self.c_k[k].get(name, torch.zeros_like(tensor))
            optimizer.step()
        return {name: tensor.detach() for name, tensor in own.items()}, c_new

    @staticmethod
    def cut(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        return tensor[tuple(slice(n) for n in shape)]

    def round(self, t: int) -> None:
        ids = participants(len(self.ranks), self.e.participation, self.e.seed, t)
        n = np.array([len(self.shares[k]) for k in ids], float)
        p = n / n.sum()
        results = [self.train(k, t) for k in ids]
        self.move_control(ids, [c_new for _, c_new in results])
        trained = [own for own, _ in results]
        self.held, before = {name: self.aggregate(name, ids, p, trained) for name in LAYERS}, self.held
        if self.kind == "flora":
            self.held = before
        self.head = {name: sum(w * own[name] for w, own in zip(p, trained, strict=True)) for name in self.head}

    def move_control(self, ids: list[int], new: list[dict[str, torch.Tensor]]) -> None:
        """c <- c + 1/N sum pad(c_k_new - c_k); every correction of this round was taken before."""
        shapes = {n: t.shape for n, t in self.head.items()}
        for name, (d_out, d_in) in LAYERS.items():
            shapes |= {f"{name}.A": torch.Size((self.top, d_in)), f"{name}.B": torch.Size((d_out, self.top))}
        self.c = self.c or {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
        for k, c_new in zip(ids, new, strict=True):
            for name, tensor in c_new.items():
                self.cut(self.c[name], tensor.shape).add_((tensor - self.c_k[k].get(name, 0.0)) / len(self.ranks))
            self.c_k[k] = c_new

    def aggregate(self, name, ids, p, trained):
        A, B = [own[f"{name}.A"] for own in trained], [own[f"{name}.B"] for own in trained]
        s, ranks, R = self.s, [self.ranks[k] for k in ids], self.top
        if self.kind == "fedit":
            mean_A, mean_B = torch.zeros(R, A[0].shape[1]).double(), torch.zeros(B[0].shape[0], R).double()
            for w, r, a, b in zip(p, ranks, A, B, strict=True):
                mean_A[:r] += w * a
                mean_B[:, :r] += w * b
            return {r: (mean_A[:r], mean_B[:, :r]) for r in set(self.ranks)}
        effective = sum(
            w * (s(r) * b @ a - self.offset(name, r)) for w, r, a, b in zip(p, ranks, A, B, strict=True)
        ).numpy()  # fmt: skip
        if self.kind == "flora":
            self.merged[name] = self.merged[name] + torch.tensor(effective)
            return {}
        if self.kind == "flexlora":
            U, S, Vh = np.linalg.svd(effective)
            return {r: (torch.tensor(Vh[:r]), torch.tensor(U[:, :r] * S[:r] / s(r))) for r in set(self.ranks)}
        if self.kind == "corrected":
            Q, T = dense_qr(effective)
            return {r: (torch.tensor(T[:r] / s(r)), torch.tensor(Q[:, :r])) for r in set(self.ranks)}
        Q, T = dense_qr(sum(w * b @ a for w, a, b in zip(p, A, B, strict=True)).numpy())
        return {r: (torch.tensor(T[:r]), torch.tensor(Q[:, :r])) for r in set(self.ranks)}

    def G(self, name: str) -> Any:
        G = self.merged[name]
        if self.held:
            A, B = self.held[name][self.top]
            G = G + self.s(self.top) * B @ A - self.offset(name, self.top)
        return G.numpy()


KINDS = [
    ("paper", None),
    ("official", None),
    *((k, s) for k in ("corrected", "fedit", "flora", "flexlora") for s in (None, "4/r")),
]


@pytest.mark.parametrize(
    ("kind", "scaling", "optimizer"),
    [(*kind, optimizer) for kind in KINDS for optimizer in ("adamw", "sgd") if (kind[0], optimizer) != ("flexlora", "sgd")],
)
def test_four_rounds_of_mixed_ranks_and_partial_participation_are_the_papers_in_dense_float64(kind, scaling, optimizer):
    """Not FlexLoRA under SGD: the shared A hardly moves, the sum has true rank 4 of 6, and its last two singular vectors, in
    which the next round trains, are a matter of rounding."""
    ilora_mode = kind in ("corrected", "paper", "official")
    experiment = toy_experiment(
        method="ilora" if ilora_mode else kind,
        options={"mode": kind} if ilora_mode else {},
        ranks=[2, 4, 6, 1, 3],
        participation=0.6,
        optimizer=optimizer,
        scaling=scaling,
        lr=1e-3 if optimizer == "adamw" else 5e-2,
    )
    simulation, reference = Simulation(experiment), Reference(experiment, kind)
    for t in range(1, 5):
        simulation.next_round()
        reference.round(t)
        for name, G in updates(simulation).items():
            want = reference.G(name)
            np.testing.assert_allclose(G, want, atol=1e-3 * length(want) + 1e-6, err_msg=f"round {t}, {name}")
        for name, tensor in reference.head.items():
            np.testing.assert_allclose(simulation.server.head[f"head.{name}"].numpy(), tensor.numpy(), atol=1e-4)
        for name, c in reference.c.items():
            key = f"c/{name}" if name in [f"{n}.{f}" for n in LAYERS for f in "AB"] else f"c/head.{name}"
            if ilora_mode:
                np.testing.assert_allclose(remembered(simulation, "correction")[key].numpy(), c.numpy(), atol=1e-4, err_msg=key)


# Sameness, resumption, edges ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "options"), EVERYTHING, ids=label)
def test_a_run_resumed_from_any_round_goes_on_to_the_same_bits(method, options):
    experiment = toy_experiment(method=method, options=options, ranks=[2, 4, 6, 1, 10], participation=0.6, rounds=4)
    undisturbed = list(simulate(experiment))
    for stop in (1, 2):
        snapshot = {name: np.array(array) for name, array in undisturbed[stop - 1].snapshot.items()}
        resumed = list(simulate(Experiment.from_json(experiment.to_json()), snapshot))
        assert [record.index for record in resumed] == list(range(stop + 1, 5))
        for one, other in zip(undisturbed[stop:], resumed, strict=True):
            assert_same_bits(bits(one), bits(other))
            assert_same_bits(one.snapshot, other.snapshot)


def test_a_resumed_vision_transformer_goes_on_to_the_same_bits():
    experiment = toy_experiment(task="digits", ranks=[2, 6, 4], rounds=2, local_steps=1)
    first, second = simulate(experiment)
    (resumed,) = simulate(experiment, first.snapshot)
    assert_same_bits(bits(second), bits(resumed))


def test_a_snapshot_is_not_changed_by_later_rounds():
    simulation = Simulation(toy_experiment())
    first = simulation.next_round()
    before = {name: array.copy() for name, array in first.snapshot.items()}
    simulation.next_round()
    assert_same_bits(before, first.snapshot)


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_run():
    one, again, other = (next(simulate(toy_experiment(seed=seed))) for seed in (1, 1, 2))
    assert_same_bits(bits(one), bits(again))
    assert one.loss != other.loss


def test_a_stop_in_the_middle_of_a_round_costs_that_round_only():
    class StopError(Exception):
        pass

    def stop(fraction: float) -> None:
        if fraction > 0.3:
            raise StopError

    experiment = toy_experiment()
    simulation = Simulation(experiment)
    first = simulation.next_round()
    with pytest.raises(StopError):
        simulation.next_round(stop)
    assert_same_bits(bits(Simulation(experiment, first.snapshot).next_round()), bits(list(simulate(experiment))[1]))


def test_progress_rises_from_0_to_1():
    heard: list[float] = []
    Simulation(toy_experiment()).next_round(heard.append)
    assert heard == sorted(heard)
    assert heard[0] >= 0
    assert heard[-1] <= 1


def test_two_methods_of_one_seed_see_the_same_clients_samples_batches_and_head():
    works = {}
    for method in ("ilora", "fedit", "flora", "flexlora"):
        simulation = Simulation(toy_experiment(method=method, ranks=[2, 4, 6, 1], participation=0.5, lr=0.0))
        batches: list[torch.Tensor] = []
        engine: Any = simulation.engine
        plain = engine.train
        engine.train = lambda work, tell, plain=plain, batches=batches: batches.append(work.batches) or plain(work, tell)
        rounds = [simulation.next_round() for _ in range(2)]
        works[method] = [
            *(record.clients[column].tolist() for record in rounds for column in ("id", "samples", "weight")),
            *(b.tolist() for b in batches),
            *(tensor.tolist() for tensor in fresh_head(simulation.server.head, 0).values()),
            simulation.facts.class_counts.tolist(),
        ]
    assert works["ilora"] == works["fedit"] == works["flora"] == works["flexlora"]


def test_weights_are_the_samples_of_those_who_take_part():
    for record in simulate(toy_experiment(ranks=[2] * 10, participation=0.3)):
        assert len(record.clients["id"]) == 3
        np.testing.assert_allclose(
            record.clients["weight"], record.clients["samples"] / record.clients["samples"].sum(), rtol=1e-6
        )


def test_those_who_do_not_take_part_change_nothing_but_the_server():
    simulation = Simulation(toy_experiment(ranks=[2, 4, 6, 1], participation=0.5))
    absent = sorted(set(range(4)) - set(simulation.next_round().clients["id"].tolist()))
    assert len(absent) == 2
    for name, state in remembered(simulation, "correction").items():
        if name.startswith("c_k/"):
            assert not state[absent].any()


MAY_BE_NAN_ALONE = {"alignment", "chance", "cosine"}


@pytest.mark.parametrize("ranks", [[2, 4, 6], [3]], ids=str)
@pytest.mark.parametrize(("method", "options"), EVERYTHING, ids=label)
def test_every_number_of_a_round_is_finite_where_it_means_something(method, options, ranks):
    for record in simulate(toy_experiment(method=method, options=options, ranks=ranks, rounds=2)):
        undefined = MAY_BE_NAN_ALONE if len(ranks) == 1 else set()
        assert {name for name, value in record.metrics().items() if not np.isfinite(value)} == undefined
        wrong = {
            name
            for name, array in record.arrays().items()
            if not np.isfinite(array).all() and name.rpartition("/")[2] not in undefined
        }
        assert not wrong
        assert 0 <= record.accuracy <= 1
        assert record.aggregation_error >= 0


@pytest.mark.parametrize("method", ["ilora", "fedit", "flora", "flexlora"])
def test_where_nobody_moved_alignment_drift_and_cosines_are_undefined_and_movement_is_none(method):
    for still in ({"lr": 0.0}, {"local_steps": 0}):
        for record in simulate(toy_experiment(method=method, rounds=2, **still)):
            assert [getattr(record, name) for name in ("alignment", "drift", "cosine")] == pytest.approx(
                [np.nan] * 3, nan_ok=True
            )
            for layer in record.layers.values():
                assert layer.movement_norm.max() < 1e-6


@pytest.mark.parametrize("method", ["ilora", "fedit", "flora", "flexlora"])
def test_where_nobody_learned_no_aggregation_error_is_reported(method):
    for record in simulate(toy_experiment(method=method, rounds=2, lr=0.0)):
        assert record.aggregation_error == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("method", ["ilora", "fedit", "flora", "flexlora"])
def test_200_clients_run(method):
    record = next(simulate(toy_experiment(method=method, ranks=[1, 2] * 100, local_steps=1, skew="iid")))
    assert len(record.clients["id"]) == 200
    layer = record.layers["query"]
    assert layer.cosines.shape == (64, 64)
    assert layer.movement_norm.shape == (200,)


def test_a_single_client_is_plain_lora_and_nothing_is_lost():
    for method, options in EVERYTHING:
        if options.get("mode") == "official":
            continue  # its server weighs the raw product by 16/r
        for record in simulate(toy_experiment(method=method, options=options, ranks=[10], rounds=2)):
            assert record.aggregation_error < 1e-4, (method, options)
            assert record.clients["accuracy"][0] == pytest.approx(record.accuracy, abs=0.04)


def test_more_participants_than_one_share_the_full_rank_without_loss_under_product_rules():
    for method in ("ilora", "flexlora", "flora"):
        record = next(simulate(toy_experiment(method=method, ranks=[10, 10, 10])))
        assert record.aggregation_error < 1e-5
        assert max(layer.broadcast_error.max() for layer in record.layers.values()) < 1e-5


# Cost ---------------------------------------------------------------------------------------------------------------------------

WIDTHS = (10 + 12) + (14 + 10)  # d_out + d_in of both layers
HEAD = 14 * 4 + 4


@pytest.mark.parametrize(
    ("method", "options", "up", "down"),
    [
        ("fedit", {}, 9 * WIDTHS + 3 * HEAD, 9 * WIDTHS + 3 * HEAD),
        ("flexlora", {}, 9 * WIDTHS + 3 * HEAD, 9 * WIDTHS + 3 * HEAD),
        ("flora", {}, 9 * WIDTHS + 3 * HEAD, 3 * (9 * WIDTHS + HEAD)),
        ("ilora", {}, 2 * (9 * WIDTHS + 3 * HEAD), 2 * (9 * WIDTHS + 3 * HEAD)),
        ("ilora", {"correction": "none"}, 9 * WIDTHS + 3 * HEAD, 9 * WIDTHS + 3 * HEAD),
    ],
)
def test_the_numbers_sent_are_a_hand_count(method, options, up, down):
    record = next(simulate(toy_experiment(method=method, options=options, ranks=[2, 4, 3])))
    assert (record.floats_up, record.floats_down) == (up, down)
    assert (record.bytes_up, record.bytes_down) == (4 * up, 4 * down)


def test_floras_stack_costs_rho_times_d_plus_k_or_the_dense_matrix_where_that_is_less():
    record = next(simulate(toy_experiment(method="flora", ranks=[8, 8, 8])))
    stack, dense = 24 * 22 + 24 * 24, 10 * 12 + 14 * 10
    assert record.floats_down in (3 * (stack + HEAD), 3 * (dense + HEAD))


def test_the_facts_are_those_of_the_run():
    simulation = Simulation(toy_experiment())
    facts = simulation.facts
    assert facts.ranks.tolist() == [2, 4, 3]
    assert facts.class_counts.sum() == facts.samples.sum() == 240
    assert facts.shapes == ((10, 12), (14, 10))
    assert facts.adapter_parameters.tolist() == [r * WIDTHS for r in (2, 4, 3)]
    assert facts.head_parameters == HEAD


def test_a_noisy_client_trains_on_its_random_labels_and_the_test_set_stays_true():
    simulation = Simulation(toy_experiment(noisy_clients=1))
    plain = Simulation(toy_experiment())
    (noisy,) = simulation.facts.noisy
    changed = simulation.client_data.train.labels != plain.client_data.train.labels
    assert set(torch.nonzero(changed).flatten().tolist()) <= set(simulation.client_data.shares[noisy].tolist())
    assert changed.any()
    assert simulation.engine.data is simulation.client_data.train
    assert torch.equal(simulation.client_data.test.labels, plain.client_data.test.labels)
    np.testing.assert_array_equal(simulation.facts.class_counts, plain.facts.class_counts)


# What a run gives back ----------------------------------------------------------------------------------------------------------


def test_run_gives_all_rounds_and_their_table():
    result = run(toy_experiment(rounds=2))
    assert [record.index for record in result.rounds] == [1, 2]
    assert list(result.history.index) == [1, 2]
    assert result.history.loc[2, "accuracy"] == result.rounds[1].accuracy


def test_learning_happens():
    for method in ("ilora", "fedit", "flora", "flexlora"):
        rounds = list(simulate(toy_experiment(method=method, rounds=6, local_steps=10, lr=1e-2)))
        assert rounds[-1].loss < 0.9 * np.log(4), method


def test_a_device_that_is_not_there_is_named():
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    for device in [device for device, ok in there.items() if not ok]:
        with pytest.raises(ValueError, match=rf"device is '{device}'; allowed here: auto, .*cpu\."):
            pick_device(device)
    assert pick_device("cpu") == "cpu"


@pytest.mark.parametrize("scaling", [2.0, "4/r"])
@pytest.mark.parametrize("method", ["ilora", "flexlora", "fedit"])
def test_a_resumed_run_divides_the_bank_by_each_ranks_own_scaling_again(method, scaling):
    experiment = toy_experiment(method=method, scaling=scaling)
    whole = Simulation(experiment)
    snapshot = whole.next_round().snapshot
    want, got = whole.next_round().snapshot, Simulation(experiment, snapshot).next_round().snapshot
    assert [name for name in want if want[name].tobytes() != got[name].tobytes()] == []
