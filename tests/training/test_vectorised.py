"""Training all clients at once is training each alone: gradients are one's own, chunks and little memory change nothing."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional

from ilora.stages.objectives import cross_entropy
from ilora.training.local_work import LocalWork
from ilora.training.optimizers import make_optimizer
from ilora.training.vectorised import VectorisedEngine, client_norms, correction_ratio
from tests.stacked_clients import RANKS, dense_logits, draw_setting, make_stacked
from tests.toy import load_toy

PLENTY = 2**40


def make_work(optimizer="adamw", steps=3, corrected=True):
    parameters, base = draw_setting()
    draw = torch.Generator().manual_seed(1)
    batches = torch.randint(0, 240, (4, steps, 6), generator=draw)
    owned = {
        name: torch.ones_like(tensor)
        * (
            (torch.arange(6)[None, :] < torch.tensor(RANKS)[:, None]).float()[:, :, None]
            if name.endswith(".A")
            else (torch.arange(6)[None, :] < torch.tensor(RANKS)[:, None]).float()[:, None, :]
            if name.endswith(".B")
            else torch.ones(())
        )
        for name, tensor in parameters.items()
    }
    correction = {name: 0.1 * torch.randn(t.shape, generator=draw) for name, t in parameters.items()} if corrected else None
    return LocalWork(parameters, base, batches, optimizer, 1e-2, cross_entropy, {}, correction, owned)


def train(work, budget=PLENTY, engine=None):
    engine = engine or VectorisedEngine(make_stacked(), load_toy().train, budget)
    return engine.train(work, lambda done, steps: None)


def assert_same(one, other, atol=1e-6):
    for name in one.parameters:
        torch.testing.assert_close(one.parameters[name], other.parameters[name], atol=atol, rtol=0)
    torch.testing.assert_close(one.losses, other.losses, atol=atol, rtol=0)
    torch.testing.assert_close(one.gradient_norms, other.gradient_norms, atol=10 * atol, rtol=0)


def dense_training(work, k):
    """Client k alone, in float64, on dense weights."""
    own = {name: t[k : k + 1].double().clone().requires_grad_() for name, t in work.start.items()}
    optimizer = (
        torch.optim.AdamW(own.values(), lr=work.lr, weight_decay=0.0)
        if work.optimizer == "adamw"
        else torch.optim.SGD(own.values(), lr=work.lr, momentum=0.9)
    )
    losses, norms = [], []
    data = load_toy().train
    for index in work.batches[k]:
        optimizer.zero_grad()
        loss = functional.cross_entropy(dense_logits(own, work.base[[k]], 0, data.inputs["x"][index]), data.labels[index])
        loss.backward()
        losses.append(float(loss.detach()))
        norms.append(float(sum(t.grad.square().sum() for t in own.values()).sqrt()))
        for name, tensor in own.items():
            tensor.grad += work.correction[name][k : k + 1]
            tensor.grad *= work.trainable[name][k : k + 1]
        optimizer.step()
    return {name: t.detach() for name, t in own.items()}, losses, norms


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_every_client_ends_where_it_would_end_alone_on_dense_weights(optimizer):
    work = make_work(optimizer)
    trained = train(work)
    for k in range(4):
        own, losses, norms = dense_training(work, k)
        for name in own:
            torch.testing.assert_close(trained.parameters[name][k].double(), own[name][0], atol=2e-5, rtol=0)
        assert trained.losses[k].tolist() == pytest.approx(losses, abs=1e-5)
        assert trained.gradient_norms[k].tolist() == pytest.approx(norms, rel=1e-4)


def test_slots_that_a_client_does_not_own_stay_zero_even_under_a_correction():
    trained = train(make_work())
    for k, rank in enumerate(RANKS):
        assert not trained.parameters["query.A"][k, rank:].any()
        assert not trained.parameters["query.B"][k, :, rank:].any()


def test_the_given_start_is_not_touched():
    work = make_work()
    before = {name: tensor.clone() for name, tensor in work.start.items()}
    train(work)
    assert all(torch.equal(work.start[name], before[name]) for name in before)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_chunks_change_nothing(optimizer, chunk):
    work = make_work(optimizer)
    engine = VectorisedEngine(make_stacked(), load_toy().train, PLENTY)
    engine.bytes_per_row = 1
    engine.memory_budget = chunk * 6
    assert_same(train(work, engine=engine), train(work))


def test_the_measured_memory_splits_the_clients():
    engine = VectorisedEngine(make_stacked(), load_toy().train, PLENTY)
    train(make_work(), engine=engine)
    assert engine.bytes_per_row > 0
    small = OutOfMemory(make_stacked(), load_toy().train, 2 * 6 * engine.bytes_per_row)
    small.most = 4
    train(make_work(), engine=small)
    assert small.sizes == [2, 2]


class OutOfMemory(VectorisedEngine):
    """Fails, as CUDA does, for more than `most` clients at once."""

    most = 1

    def _train_chunk(self, work, on_step):
        clients = len(work.batches)
        self.sizes = [*getattr(self, "sizes", []), clients]
        if clients > self.most:
            raise torch.OutOfMemoryError("simulated")
        return super()._train_chunk(work, on_step)


@pytest.mark.parametrize(("most", "sizes"), [(1, [4, 2, 1, 1, 1, 1]), (2, [4, 2, 2]), (3, [4, 2, 2])])
def test_out_of_memory_halves_the_chunk_and_goes_on_to_the_same_numbers(most, sizes):
    engine = OutOfMemory(make_stacked(), load_toy().train, PLENTY)
    engine.most, engine.bytes_per_row, engine.memory_budget = most, 1, 4 * 6
    work = make_work()
    assert_same(train(work, engine=engine), train(work))
    assert engine.sizes == sizes


def test_out_of_memory_is_not_tried_again_with_a_chunk_that_holds_everyone_anyway():
    engine = OutOfMemory(make_stacked(), load_toy().train, PLENTY)
    train(make_work(), engine=engine)
    assert engine.sizes == [4, 2, 1, 1, 1, 1]


def test_out_of_memory_with_a_single_client_is_told():
    engine = OutOfMemory(make_stacked(), load_toy().train, PLENTY)
    engine.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        train(make_work(), engine=engine)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_progress_counts_client_steps_up_to_all_of_them(steps):
    heard = []
    engine = VectorisedEngine(make_stacked(), load_toy().train, PLENTY)
    engine.bytes_per_row, engine.memory_budget = 1, 3 * 6
    trained = engine.train(make_work(steps=steps), lambda done, of: heard.append((done, of)))
    assert trained.losses.shape == (4, steps)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert not heard or heard[-1] == (4 * steps, 4 * steps)


def test_the_gradient_is_each_clients_weighted_sum_over_its_own_samples():
    parameters, base = draw_setting()
    data, draw = load_toy().train, torch.Generator().manual_seed(5)
    samples = [torch.randperm(240, generator=draw)[:n] for n in (3, 70, 1, 32)]
    weights = [torch.rand(len(s), generator=draw) for s in samples]
    got = VectorisedEngine(make_stacked(), data, PLENTY).gradient(parameters, base, samples, weights)
    for k in range(4):
        own = {name: t[k : k + 1].double().requires_grad_() for name, t in parameters.items()}
        logits = dense_logits(own, base[[k]], 0, data.inputs["x"][samples[k]])
        loss = functional.cross_entropy(logits, data.labels[samples[k]], reduction="none")
        (loss * weights[k]).sum().backward()
        for name, tensor in own.items():
            torch.testing.assert_close(got[name][k].double(), tensor.grad[0], atol=1e-4, rtol=1e-4)


def test_logits_of_many_clients_on_many_samples_do_not_depend_on_the_portions(monkeypatch):
    parameters, base = draw_setting()
    engine = VectorisedEngine(make_stacked(), load_toy().train, PLENTY)
    whole = engine.logits(parameters, base, load_toy().test)
    assert whole.shape == (4, 30, 4)
    monkeypatch.setattr("ilora.training.vectorised.EVALUATION_ROWS", 12)
    torch.testing.assert_close(engine.logits(parameters, base, load_toy().test), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("most", [1, 5, 40])
def test_gradients_and_answers_are_the_same_from_as_few_rows_as_the_memory_holds(most, monkeypatch):
    parameters, base = draw_setting()
    samples = [torch.arange(n) for n in (3, 40, 1, 20)]
    weights = [torch.ones(len(own)) for own in samples]

    def all_of(engine):
        answers = [own.logits for own in engine.own_outputs(parameters, base, samples)]
        gradient = engine.gradient(parameters, base, samples, weights)
        return [*gradient.values(), engine.logits(parameters, base, load_toy().test), *answers]

    engine = VectorisedEngine(make_stacked(), load_toy().train, PLENTY)
    whole = all_of(engine)
    forward, seen = engine.model.forward, []

    def full(own, own_base, inputs):
        rows = inputs["x"].shape[0] * inputs["x"].shape[1]
        if rows > max(most, len(own_base.ranks)):  # evaluation never takes a client apart from the others
            raise torch.OutOfMemoryError("simulated")
        seen.append(rows)
        return forward(own, own_base, inputs)

    monkeypatch.setattr(engine.model, "forward", full)
    torch.testing.assert_close(all_of(engine), whole, atol=1e-4, rtol=1e-4)
    assert max(seen) <= max(most, 4)


def test_the_optimizers_are_adamw_without_decay_and_sgd_with_momentum():
    tensor = torch.zeros(2, requires_grad=True)
    adamw, sgd = make_optimizer("adamw", [tensor], 0.1), make_optimizer("sgd", [tensor], 0.1)
    assert type(adamw) is torch.optim.AdamW
    assert {k: adamw.defaults[k] for k in ("weight_decay", "betas", "eps")} == {
        "weight_decay": 0.0, "betas": (0.9, 0.999), "eps": 1e-8
    }  # fmt: skip
    assert (type(sgd), sgd.defaults["momentum"]) == (torch.optim.SGD, 0.9)


def test_the_corrections_size_is_held_against_the_mean_gradient():
    work = make_work()
    trained = train(work)
    want = client_norms(work.correction) / trained.gradient_norms.mean(1)
    torch.testing.assert_close(correction_ratio(work.correction, trained), want)
    assert not correction_ratio(None, trained).any()
    flat = torch.cat([t.flatten(1) for t in work.correction.values()], 1)
    torch.testing.assert_close(client_norms(work.correction), flat.norm(dim=1))


def test_the_objective_is_the_mean_cross_entropy_of_each_clients_batch():
    draw = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(3, 5, 4, generator=draw), torch.randint(0, 4, (3, 5), generator=draw)
    want = [functional.cross_entropy(x, y) for x, y in zip(logits, labels, strict=True)]
    step: Any = SimpleNamespace(logits=logits, labels=labels)
    torch.testing.assert_close(cross_entropy(step), torch.stack(want))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_a_client_that_has_taken_its_steps_stays_where_it_is(optimizer, chunk):
    work = replace(make_work(optimizer, steps=5), steps=(2, 5, 0, 3))
    engine = VectorisedEngine(make_stacked(), load_toy().train, PLENTY)
    engine.bytes_per_row, engine.memory_budget = 1, chunk * 6
    told = []
    trained = engine.train(work, lambda done, of: told.append((done, of)))
    for k, steps in enumerate(work.steps):
        alone = replace(work[k : k + 1], batches=work.batches[k : k + 1, :steps], steps=())
        want = train(alone)
        for name in want.parameters:
            torch.testing.assert_close(trained.parameters[name][k], want.parameters[name][0], atol=1e-6, rtol=0)
        torch.testing.assert_close(trained.losses[k, :steps], want.losses[0], atol=1e-6, rtol=0)
        assert trained.losses[k, steps:].isnan().all()
        assert trained.gradient_norms[k, steps:].isnan().all()
    assert told[-1] == (10, 10)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_gradients_and_second_moments_are_those_of_each_clients_own_steps():
    work = replace(make_work(steps=4), steps=(4, 1, 2, 3), keep_gradients=True, steps_before=7)
    work = replace(work, second_moments={name: torch.full_like(t, 0.01) for name, t in work.start.items()})
    trained = train(work)
    for k, steps in enumerate(work.steps):
        want = train(replace(work[k : k + 1], batches=work.batches[k : k + 1, :steps], steps=()))
        for name in want.parameters:
            torch.testing.assert_close(trained.gradients[name][k], want.gradients[name][0], atol=1e-6, rtol=0)
            torch.testing.assert_close(trained.second_moments[name][k], want.second_moments[name][0], atol=1e-7, rtol=0)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_without_a_step_everyone_stays_and_no_empty_batch_meets_the_model(optimizer, monkeypatch):
    work, engine = make_work(optimizer, steps=0, corrected=False), VectorisedEngine(make_stacked(), load_toy().train, PLENTY)
    monkeypatch.setattr(engine.model, "forward", None)
    trained = train(work, engine=engine)
    assert trained.losses.shape == (4, 0)
    for name, start in work.start.items():
        torch.testing.assert_close(trained.parameters[name], start, atol=0, rtol=0)
