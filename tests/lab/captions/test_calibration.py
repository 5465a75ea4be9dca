"""What the page on uncertainty shows and says, against the record it comes from."""

import numpy as np
import pandas as pd
import pytest
import torch

from ilora.lab import figures
from ilora.lab.captions import calibration
from ilora.simulation.calibration import calibration_record, ensemble, images
from tests.factory import make_calibration_round, make_history

CLASSES = tuple("0123456789")


def test_bins_and_errors_are_those_of_the_answers():
    record, logits, labels = make_calibration_round()
    bins = calibration.bins_of(record)
    assert list(bins) == ["server", "clients/single", "clients"]
    found = ensemble(logits.softmax(-1), labels)
    assert calibration.error_of(bins["clients"]) == pytest.approx(found.calibration_error, abs=1e-5)
    assert record.scores["clients member calibration error"] == pytest.approx(found.member_calibration_error, abs=1e-5)
    assert bins["clients/single"][0].sum() == 4 * bins["clients"][0].sum() == 360
    p = logits.softmax(-1)
    assert calibration.leaning(bins["clients/single"]) == pytest.approx(
        float(p.max(-1).values.mean() - (p.argmax(-1) == labels).float().mean()), abs=1e-5
    )


def test_an_ensemble_stands_where_the_servers_model_would():
    record, _, _ = make_calibration_round(who="members")
    assert list(calibration.bins_of(record)) == ["members/single", "members"]


def test_one_client_is_not_called_the_clients_together():
    record, _, _ = make_calibration_round(members=1)
    assert list(calibration.bins_of(record)) == ["server", "client"]
    history = pd.DataFrame([record.metrics()]).set_index("index", drop=False)
    assert list(calibration.over_rounds(history, "calibration error")) == ["server", "client"]
    assert "The only client is" in calibration.reliability(calibration.bins_of(record)["client"], "client", 3)


def test_over_and_underconfidence_are_named_and_honesty_too():
    def say(confidence: float, accuracy: float) -> str:
        bins = np.zeros((3, 10))
        bins[:, 5] = 20, confidence, accuracy
        return calibration.reliability(bins, "server", 2)

    assert "overconfident by 30 points" in say(0.55, 0.25)
    assert "underconfident by 30 points" in say(0.55, 0.85)
    assert "they agree within 2 points" in say(0.55, 0.56)


def test_the_ensemble_counts_votes_and_splits_the_doubt():
    members = np.zeros((3, 2, 10))
    members[:, 0, 4] = 1.0
    members[:2, 1, 3] = members[2, 1, 8] = 1.0
    labels = np.array([4, 8])
    assert calibration.most_disputed(members) == [1, 0]
    agreed = calibration.ensemble(members, labels, 0, CLASSES, "clients")
    assert agreed.startswith("3 of 3 clients say 4, with a joint confidence of 100 %; that is right.")
    disputed = calibration.ensemble(members, labels, 1, CLASSES, "members")
    assert disputed.startswith("2 of 3 members say 3, with a joint confidence of 67 %; the right answer is 8.")
    assert disputed.endswith("100 % is disagreement between them.")


def test_the_best_calibrated_is_named():
    history = make_history(3).set_index("index", drop=False)
    history["score server calibration error"] = [0.3, 0.2, 0.1]
    history["score clients calibration error"] = [0.1, 0.1, 0.2]
    history["score clients member calibration error"] = [0.3, 0.3, 0.3]
    said = calibration.lowest(history, "calibration error", 3)
    assert "the server's model has the lowest calibration error, 0.10; a client alone 0.30, the clients together 0.20" in said
    assert "the clients together have the lowest" in calibration.lowest(history, "calibration error", 1)
    assert len(figures.calibration_over_rounds(history, "calibration error", 2).data) == 3


def test_the_reliability_figure_draws_only_bins_with_answers_and_the_gap_closes_to_the_confidence():
    record, _, _ = make_calibration_round()
    bins = calibration.bins_of(record)["clients"]
    figure = figures.reliability(bins, "clients")
    right, gap = figure.data[0], figure.data[1]
    assert len(right.x) == int((bins[0] > 0).sum())
    np.testing.assert_allclose(
        np.array(gap.base, float) + np.array(gap.y, float), 100 * bins[1][bins[0] > 0].astype(float), atol=1e-4
    )


def test_the_ensemble_figure_has_a_row_for_each_member_and_one_for_all():
    record, logits, labels = make_calibration_round()
    members = record.pictures["clients/probabilities"]
    names = [f"client {k}" for k in range(4)]
    rows = figures.ensemble(members, 5, names, CLASSES, int(labels[5])).data[0]
    assert list(rows.y) == [*names, "together"]
    np.testing.assert_allclose(np.array(rows.z[-1], float), 100 * logits[:, 5].double().softmax(-1).mean(0), atol=1e-3)


def test_a_branch_that_sorts_by_its_groups_says_so():
    points = np.zeros((2, 5, 2))
    points[1] += 7
    owner = np.repeat([[0], [1]], 5, axis=1)
    assert "100 % of the spread in this plane is between clients" in calibration.branch(points, owner, "private", "clients")
    mixed = np.tile([[0, 1, 0, 1, 0]], (2, 1))
    assert "0 % of the spread" in calibration.branch(points, mixed, "private", "classes")
    assert len(figures.branch(points, owner, ["a", "b"]).data) == 2
    history = pd.DataFrame({"index": [1], **{f"score client guessed from {b} features": [0.5] for b in ("shared", "private")}})
    assert len(figures.probe(history.set_index("index", drop=False), 4, 1).data) == 2


def test_small_images_are_kept_as_bytes_and_large_ones_or_text_are_not():
    x = torch.rand(70, 1, 8, 8)
    kept = images({"pixel_values": x})["images"]
    assert kept.shape == (64, 1, 8, 8)
    torch.testing.assert_close(kept.float() / 255, x[:64], atol=0.002, rtol=0)
    assert images({"pixel_values": torch.rand(2, 3, 224, 224)}) == {}
    assert images({"input_ids": torch.zeros(3, 9, dtype=torch.long)}) == {}


def test_numbers_as_labels_have_no_calibration():
    assert calibration_record("clients", torch.randn(3, 5, 1), torch.randn(5)) == ({}, {})
