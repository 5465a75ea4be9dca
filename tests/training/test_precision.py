"""Under bfloat16 only the backbone's activations are short; under TF32 only CUDA's products in training."""

import pytest
import torch

from ilora.simulation.round_loop import Simulation
from ilora.training.hardware import products_in
from tests.toy import small_tasks, toy_experiment


@pytest.fixture(autouse=True, scope="module")
def tasks():
    with small_tasks():
        yield


@pytest.mark.parametrize("engine", ["vectorised", "sequential"])
def test_bfloat16_rounds_are_near_float32_ones_and_factors_stay_float32(engine):
    plain, short = (
        Simulation(toy_experiment(task="digits", ranks=[2, 4], local_steps=2, engine=engine, precision=precision))
        for precision in ("float32", "bfloat16")
    )
    one, other = plain.next_round(), short.next_round()
    assert other.loss == pytest.approx(one.loss, rel=0.02)
    assert other.train_loss == pytest.approx(one.train_loss, rel=0.02)
    assert other.loss != one.loss
    kept = [*short.server.head.values(), *(t for layer in short.server.layers.values() for t in layer.own(1).factors)]
    assert {tensor.dtype for tensor in kept} == {torch.float32}
    assert short.facts.precision == "bfloat16"


def test_tf32_is_on_while_clients_train_and_off_again_afterwards(monkeypatch):
    simulation, seen = Simulation(toy_experiment(precision="tf32")), []
    plain = simulation.engine.train

    def train(*given):
        seen.append(torch.backends.cuda.matmul.allow_tf32)
        return plain(*given)

    monkeypatch.setattr(simulation.engine, "train", train)
    simulation.next_round()
    assert seen == [True]
    assert not torch.backends.cuda.matmul.allow_tf32


def test_tf32_ends_with_an_error_too():
    with pytest.raises(RuntimeError, match="stop"), products_in("tf32"):
        raise RuntimeError("stop")
    assert not torch.backends.cuda.matmul.allow_tf32
