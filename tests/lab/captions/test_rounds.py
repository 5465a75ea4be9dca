"""The sentences under the charts say what is in the records, also at the edges."""

from dataclasses import replace

import numpy as np
import pytest

from ilora.lab.analysis.measures import MEASURES
from ilora.lab.captions import comparison, data, rounds
from tests.factory import LAYERS, make_facts, make_history, make_layer, make_round

LAYER = LAYERS[1]


def one_client_round():
    return make_round(1, ranks=(4,))


def with_layer(record, **changes):
    return replace(record, layers={**record.layers, LAYER: replace(record.layers[LAYER], **changes)})


def test_budgets_are_named_where_they_differ():
    assert "sum to 30 in every run" in comparison.budget({"A": [2, 28], "B": (10, 20)})
    assert comparison.budget({"A": [2], "B": [4]}).endswith("sum to 2 in A, 4 in B.")


def test_slots_die_in_the_first_round_in_which_nobody_has_them():
    full, cut = np.array([1.0, 0.5, 0.2]), np.array([1.0, 0.0, 0.0])
    assert comparison.dead_slots("FedIT", [full, full]) == ""
    assert comparison.dead_slots("FedIT", [full, cut, full]).startswith(
        "In round 2 of FedIT no client had the last 2 of 3 slots."
    )


def test_accuracy_says_value_change_and_chance():
    history = make_history(4)
    text = rounds.accuracy(history, 4, classes=10)
    assert text == (
        "After round 4 the server's model gets 60.0 % of the test samples right, 6.2 points more than a round earlier;"
        " guessing would get 10 %."
    )


@pytest.mark.parametrize(
    ("own", "test", "words"),
    [(1.0, 1.2, "fit their own samples better"), (1.0, 1.05, "close"), (2.06, 1.76, "averaged over the round's steps")],
)
def test_training_loss_is_set_against_test_loss_in_both_directions(own, test, words):
    text = rounds.loss(make_history(1).assign(train_loss=own, loss=test))
    assert words in text
    assert ("close" in text) == (words == "close")


def test_the_first_round_has_nothing_to_compare_with():
    assert rounds.accuracy(make_history(1)) == "After round 1 the server's model gets 20.0 % of the test samples right."


def test_the_past_is_told_from_the_past():
    history = make_history(6)
    assert "round 2" in rounds.accuracy(history, 2)
    assert "By round 2 " in rounds.traffic(history, 2)
    assert "0.40 MB up" in rounds.traffic(history, 2)


def test_the_error_is_split_into_averaging_and_cutting():
    history = make_history(2).assign(averaging_error=0.12, truncation_error=0.0, aggregation_error=0.12)
    text = rounds.error_split(history, server_rank=16)
    assert "averaging lost 12 % of the ideal update; truncating to rank 16 lost nothing." in text


def test_a_step_of_the_servers_own_is_not_called_averaging():
    history = make_history(2).assign(averaging_error=0.0, truncation_error=0.0, aggregation_error=0.83)
    text = rounds.error_split(history, step="Adam")
    assert "averaging lost nothing" in text
    assert text.endswith("After the server's own step, “Adam”, its update is off by 83 % in all.")


def test_a_run_whose_name_begins_with_with_is_not_said_with_twice():
    runs = {"with control variates": make_history(2).assign(drift=1.0), "own gradient": make_history(2)}
    text = comparison.compare("drift", runs)
    assert "with with" not in text
    assert "highest with control variates" in text


def test_an_average_over_layers_is_not_named_like_one_layers_number():
    history = make_history(2)
    assert "effective rank per layer" in rounds.over_rounds("effective_rank", history)
    assert "of block 1 value has effective rank" in rounds.spectrum(make_round(2), LAYER)


def test_the_length_of_the_servers_own_step_is_named():
    history = make_history(2).assign(step_error=0.4)
    assert "step, “Adam”, with 40 % of the ideal update's norm, its" in rounds.error_split(history, step="Adam")


def test_a_correction_longer_than_the_gradient_is_warned_of():
    assert rounds.outweighed(replace(make_round(1), correction_ratio=0.99)) == ""
    assert rounds.outweighed(replace(make_round(1), correction_ratio=float("nan"))) == ""
    warning = rounds.outweighed(replace(make_round(1), correction_ratio=2.21))
    assert "2.2 times the norm of a client's own gradient" in warning


def test_no_error_is_said_to_be_none():
    history = make_history(1).assign(averaging_error=0.0, truncation_error=1e-7, aggregation_error=1e-7)
    assert "nothing was lost" in rounds.error_split(history)


def test_the_client_that_points_away_is_named():
    angles = np.full((4, 4), 20.0)
    angles[2, :] = angles[:, 2] = 71.0
    record = with_layer(make_round(3), angles=angles, angles_global=np.array([10.0, 10.0, 64.0, 10.0]))
    expected = "Client 3 (rank 8) is at 71° to the other clients in block 1 value, round 3, and at 64° to the ideal update."
    assert rounds.angles(record, LAYER) == expected


def test_alignment_is_held_against_chance():
    overlap = np.full((4, 4), 0.9)
    overlap[1, :] = overlap[:, 1] = 0.2
    record = with_layer(make_round(3), overlap_columns=overlap)
    text = rounds.alignment(record, LAYER)
    assert text.startswith("Client 2 (rank 4) shares least")
    assert "overlap 0.20 on average, where random subspaces would have 0.12" in text


def test_it_is_said_who_is_left_out_now_and_next():
    assert rounds.left_out((), ()) == ""
    assert rounds.left_out((2,), (2,)) == " This run excludes client 3."
    assert rounds.left_out((2,), ()) == " This run excludes client 3. The next run excludes no client."
    assert rounds.left_out((), (0, 4, 2)) == " The next run excludes clients 1, 3 and 5."


def test_one_client_alone_is_no_error():
    record = one_client_round()
    assert "no pair of clients" in rounds.alignment(record, LAYER)
    assert "no pair of clients" in rounds.angles(record, LAYER)
    assert "only one update" in rounds.drift(record, LAYER)
    assert rounds.participation(record, make_facts((4,))) == "The only client, of rank 4, took part in round 1."
    assert data.client_data(make_facts((4,))).startswith("One client holds all")
    assert "random" not in data.client_data(make_facts())
    assert data.client_data(replace(make_facts(), noisy=(1, 3))).endswith(" The labels of clients 2 and 4 are random.")


def test_zero_updates_leave_no_nan_on_the_screen():
    scalars = ("effective_rank", "relative_error", "averaging_error", "truncation_error", "cosine")
    blank = dict.fromkeys(scalars, float("nan"))
    arrays = {name: np.full((4, 4), np.nan) for name in ("angles", "overlap_columns", "overlap_rows", "cosines")}
    record = make_round(1)
    layer = make_layer(4, np.random.default_rng(0), **blank, **arrays, angles_global=np.full(4, np.nan))
    record = replace(record, layers=dict.fromkeys(record.layers, layer))
    history = make_history(1).assign(averaging_error=np.nan, truncation_error=np.nan, aggregation_error=np.nan)
    texts = [
        rounds.error_split(history),
        rounds.error_by_layer(record),
        rounds.alignment(record, LAYER),
        rounds.angles(record, LAYER),
        rounds.drift(record, LAYER),
        rounds.spectrum(record, LAYER),
        rounds.over_rounds("aggregation_error", history),
    ]
    assert not any("nan" in text for text in texts), texts


def test_a_method_that_moves_the_model_without_learning_says_by_how_much():
    assert rounds.moved(make_round(1)) == ""
    moving = rounds.moved(make_round(1, moved_without_learning=0.541))
    assert moving == "Even without any learning this method moves the adapted weights by 54 % of their norm."


def test_comparison_names_the_leader_after_the_last_common_round():
    better, worse = make_history(5).assign(accuracy=0.9), make_history(3).assign(accuracy=0.5)
    text = comparison.compare("accuracy", {"A": better, "B": worse})
    assert text == "After round 3, test accuracy is best with A, 90.0 %, and lowest with B, 50.0 %."
    assert "best with B" in comparison.compare("accuracy", {"A": worse, "B": better})
    assert comparison.compare("loss", {"A": worse, "B": better.assign(loss=0.1)}).count("lowest with B") == 1


def test_comparison_of_nothing():
    assert comparison.compare("loss", {}) == "Nothing has been computed yet."
    assert comparison.compare("loss", {"A": make_history(1).iloc[:0]}) == "Nothing has been computed yet."


@pytest.mark.parametrize("measure", sorted(set(MEASURES) - {"megabytes_up", "megabytes_down", "kiloforwards"}))
def test_every_measure_has_a_sentence(measure):
    text = rounds.over_rounds(measure, make_history(3), 2)
    assert text.startswith("After round 2: ")
    assert text.endswith(".")


def test_the_spectrum_is_held_against_the_smallest_rank_of_all_clients_even_if_it_is_not_there():
    assert "the first 2 directions hold" in rounds.spectrum(make_round(1, (8, 8)), LAYER, 2)
