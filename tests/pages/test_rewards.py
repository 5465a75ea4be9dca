"""Rewards: variants start as one group, and the newest ones are drawn with sentences that their records carry."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ilora.lab.analysis.measures import measure_of
from ilora.lab.captions import rewards
from ilora.lab.dashboard.views.rewards import VARIANTS, ends
from ilora.lab.figures import rewards as figures
from ilora.methods.recipes.reward_learning import NOT_COVERED
from tests.factory import rewarded, store_variants


def said(app):
    return " ".join(element.value for element in [*app.markdown, *app.caption, *app.info])


@pytest.mark.parametrize("kind", VARIANTS)
def test_one_button_starts_every_variant_on_the_same_clients_and_seed(open_app, store, kind):
    app = open_app("rewards", seed="3")
    app.segmented_control(key="rewards.kind").set_value(kind).run()
    app.number_input(key="setting.rounds").set_value(7)  # typed, and left by pressing the button
    app.button(key=f"rewards.run.{kind}").click().run()
    assert not app.exception
    runs = store.runs()
    assert {run.experiment.rounds for run in runs} == {7}
    assert {run.name for run in runs} == set(VARIANTS[kind])
    assert len({run.group for run in runs}) == 1
    assert {run.experiment.seed for run in runs} == {3}
    assert app.button(key=f"rewards.run.{kind}").disabled


def test_the_thermostat_is_drawn_with_its_sentences(open_app, store):
    store_variants(store, "aer")
    app = open_app("rewards")
    assert len(app.get("bidi_component")) == 3
    assert "the entropy is 1.00 with AER, 1.00 with No bonus" in said(app)
    assert "Alpha of AER left 0 in round 1 and is 0.50 now." in said(app)
    assert "Of 32 prompts, 20 are answered right every time and 12 never; the bonus acts on 12." in said(app)
    assert NOT_COVERED["aer"][0] in said(app)


def test_the_router_is_drawn_with_its_sentences(open_app, store):
    store_variants(store, "mor")
    app = open_app("rewards")
    app.segmented_control(key="rewards.kind").set_value("mor").run()
    assert not app.exception
    assert len(app.get("bidi_component")) == 2
    assert "The router gives client 1 most weight, 40 %." in said(app)
    assert "the best single one, of client 2, for 60 %" in said(app)


def test_before_anything_was_run_the_page_says_how_to_begin(open_app):
    assert "Nothing has been run yet." in said(open_app("rewards"))


def test_the_trace_is_weighted_by_samples():
    record = rewarded()
    uneven = replace(
        record, clients=record.clients | {"entropy": np.array([1.0, 0, 0, 0]), "samples": np.array([30, 10, 10, 10])}
    )
    assert rewards.trace([uneven])["entropy"].tolist() == [0.5]


def test_a_pinned_valve_is_said_so():
    trace = pd.DataFrame({"index": [1, 2], "alpha": [0.0, 5.0]})
    assert "pinned at its cap, 5" in rewards.valve({"AER": trace}, 5.0)
    assert "still 0" in rewards.valve({"AER": trace[:1]}, 5.0)


@pytest.mark.parametrize(("worth", "verdict"), [((0.5, 0.6, 0.7), "Each step"), ((0.6, 0.5, 0.7), "Not every step")])
def test_the_ladder_says_whether_each_step_helps(worth, verdict):
    names = ("One client's reward", "All rewards alike", "Router")
    assert verdict in rewards.ladder(dict(zip(names, worth, strict=True)) | {"Supervised FedAvg": 0.1})


def test_what_a_reward_is_worth_is_said_in_the_tasks_own_metric():
    matthews, scores = measure_of("score matthews"), {"One client's reward": -0.1, "Router": 0.25}
    assert "Router 0.250" in rewards.ladder(scores, matthews)
    figure = figures.ladder(scores, matthews)
    assert figure.layout.xaxis.title.text == "test Matthews correlation"
    assert figure.layout.xaxis.range[0] < min(figure.data[0].x)
    assert ends({"Router": rewards.trace([rewarded()])}, matthews).columns[1] == "Test Matthews correlation"


def test_the_map_names_the_client_that_counts_most_and_leaves_empty_cells_empty():
    figure = figures.trust_map(rewarded())
    assert figure.data[0].text[0][0] == "1"
    assert figure.data[0].text[1][2] == "4"
    assert figure.data[0].text[2][2] == ""
    assert np.isnan(figure.data[0].z[2][2])


def test_the_price_of_certainty_is_that_of_the_loss():
    from torch import linspace, tensor

    from ilora.stages.policy_gradient import difficulty_bonus

    want = difficulty_bonus(tensor(0.7), linspace(0, 1, 9), 0.5)
    np.testing.assert_allclose(rewards.price(0.7, 8, {"bonus": "adaptive", "rho": 0.5}), want, atol=1e-6)
    assert set(rewards.price(0.7, 8, {"bonus": "fixed"})) == {0.7}


def test_the_old_address_opens_the_page_with_what_its_link_says(open_app):
    app = open_app("alignment", seed="3")
    assert app.title[0].value == "Can a reward teach as well as a label?"
    assert app.number_input(key="setting.seed").value == 3


def test_runs_that_an_earlier_version_started_are_still_shown(open_app, store):
    store_variants(store, "aer", page="alignment")
    assert "Alpha of AER left 0 in round 1" in said(open_app("rewards"))
