"""The run that comes with the program: the default experiment, whole, and with factors."""

import numpy as np

from ilora.experiment import Experiment
from ilora.lab.content import recorded_run


def test_it_is_the_default_experiment_with_all_its_rounds():
    run = recorded_run.run()
    assert run.experiment.replace(device="auto") == Experiment()
    assert run.done == run.rounds == len(recorded_run.history()) == Experiment().rounds
    assert run.last["accuracy"] == recorded_run.history()["accuracy"].iloc[-1]


def test_every_round_can_be_read_and_agrees_with_the_history():
    for index, metrics in recorded_run.history().iterrows():
        round = recorded_run.round(index)
        assert round.index == index
        assert round.accuracy == metrics["accuracy"]
        assert list(round.layers) == list(recorded_run.facts().layers)


def test_the_kept_factors_are_those_of_the_record():
    round = recorded_run.round(7)
    layers = {name.rsplit("/", 2)[0] for name in round.factors}
    assert len(layers) == 3
    for layer in layers:
        start, trained = (
            round.factors[f"{layer}/{when}/B"] @ round.factors[f"{layer}/{when}/A"] for when in ("start", "trained")
        )
        length = np.linalg.norm(trained - start, axis=(1, 2))
        np.testing.assert_allclose(length, round.layers[layer].movement_norm, rtol=0.03)  # half precision


def test_it_is_small():
    assert recorded_run.FILE.stat().st_size < 2_000_000
