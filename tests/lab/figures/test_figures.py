"""Figures show the numbers of the records, keep their size, and stay light."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ilora.lab import figures
from ilora.lab.figures import Trace
from ilora.lab.figures.frame import CLEAR
from ilora.methods import METHODS
from tests.factory import LAYERS, RANKS, make_facts, make_history, make_round

LAYER = LAYERS[0]


def every_figure(ranks=RANKS):
    history, record, facts = make_history(4, ranks), make_round(3, ranks), make_facts(ranks)
    trace = Trace("run", "ilora", history)
    return {
        "accuracy": figures.over_rounds([trace], "accuracy", 3, rounds=15),
        "alignment over rounds": figures.over_rounds([trace, trace], "alignment"),
        "against MB": figures.over_rounds([trace], "loss", against="megabytes_up"),
        "losses": figures.losses(history, 3, 15),
        "error": figures.error_split(history, 3, 15),
        "layers": figures.error_by_layer(record),
        "alignment": figures.alignment(record, LAYER),
        "angles": figures.angles(record, LAYER),
        "drift": figures.drift(record, LAYER),
        "spectrum": figures.spectrum(record, LAYER),
        "client data": figures.client_data(facts),
        "participation": figures.participation(record, facts),
        "own models": figures.clients_accuracy(record),
        "traffic": figures.traffic(history, 3, 15),
        "idea": figures.idea(ranks),
        "means": figures.over_rounds([Trace("run", "ilora", history, history * 0 + 0.1)], "accuracy"),
        "trade-off": figures.trade_off(["run"], ["ilora"], np.ones((1, 2)), np.full((1, 2), np.nan), ("loss", "accuracy")),
    }


@pytest.mark.parametrize("ranks", [(4,), RANKS, (2, 4) * 8, (2,) * 60], ids=["one", "four", "sixteen", "sixty"])
def test_every_figure_can_be_drawn_for_any_number_of_clients(ranks):
    for name, figure in every_figure(ranks).items():
        layout = figure.to_dict()["layout"]
        assert 250 <= layout["height"] <= 1_300, name
        assert layout["uirevision"], name
        assert layout["paper_bgcolor"].endswith(",0)"), name
        json.loads(figure.to_json())


def test_nothing_is_drawn_with_webgl():
    kinds = {trace.type for figure in every_figure().values() for trace in figure.data}
    assert kinds <= {"scatter", "bar", "heatmap"}


def test_every_mark_tells_its_number_on_hover():
    for name, figure in every_figure().items():
        for trace in figure.data:
            assert trace.hovertemplate, name


def test_heights_do_not_change_while_a_run_grows():
    first = figures.error_split(make_history(1), 1, 15).layout
    last = figures.error_split(make_history(15), 15, 15).layout
    assert first.height == last.height
    assert tuple(first.xaxis.range) == tuple(last.xaxis.range)


def test_a_method_has_one_colour_and_dash_everywhere_and_no_other_method_has_both():
    styles = {figures.method_style(method) for method in METHODS}
    assert len(styles) == len(METHODS)
    lines = figures.over_rounds([Trace("a", "flora", make_history(2)), Trace("b", "ilora", make_history(2))], "loss").data
    assert (lines[0].line.color, lines[0].line.dash) == figures.method_style("flora")
    assert (lines[1].line.color, lines[1].line.dash) == figures.method_style("ilora")


def test_two_runs_of_one_method_differ_in_symbol_and_weight():
    lines = figures.over_rounds([Trace("a", "ilora", make_history(2)), Trace("b", "ilora", make_history(2))], "loss").data
    assert lines[0].line.color == lines[1].line.color
    assert lines[0].line.width != lines[1].line.width
    assert lines[0].marker.symbol != lines[1].marker.symbol


def test_percentages_are_percentages():
    history = make_history(3)
    line = figures.over_rounds([Trace("a", "ilora", history)], "accuracy").data[0]
    np.testing.assert_allclose(line.y, 100 * history["accuracy"])
    bars = figures.error_split(history).data
    np.testing.assert_allclose(bars[0].y, 100 * history["averaging_error"])
    np.testing.assert_allclose(bars[1].y, 100 * history["truncation_error"])
    np.testing.assert_allclose(bars[2].y, 100 * history["aggregation_error"])


def test_the_servers_own_step_has_a_bar_where_it_took_one():
    assert "server's own step" not in [bar.name for bar in figures.error_split(make_history(3)).data]
    rounding = make_history(3).assign(step_error=2.6e-7)
    assert "server's own step" not in [bar.name for bar in figures.error_split(rounding).data]
    history = make_history(3).assign(step_error=0.4)
    bars = {bar.name: bar for bar in figures.error_split(history).data}
    np.testing.assert_allclose(bars["server's own step"].y, [40, 40, 40])
    record = make_round(1)
    assert len(figures.error_by_layer(record).data) == 3
    stepped = {layer: replace(found, step_error=0.3) for layer, found in record.layers.items()}
    bars = {bar.name: bar for bar in figures.error_by_layer(replace(record, layers=stepped)).data}
    np.testing.assert_allclose(bars["server's own step"].x, 30)


def test_rounding_is_not_drawn_as_drift():
    history = make_history(3).assign(drift=[2e-16, 4e-16, 3e-16], cosine=np.nan)
    assert tuple(figures.over_rounds([Trace("a", "ilora", history)], "drift").layout.yaxis.range) == (0, 1)
    assert tuple(figures.over_rounds([Trace("a", "ilora", history)], "cosine").layout.yaxis.range) == (-1, 1)
    assert figures.over_rounds([Trace("a", "ilora", make_history(3))], "drift").layout.yaxis.range is None


def test_many_clients_keep_short_labels():
    axis = figures.alignment(make_round(1, (1, 2, 4, 8) * 5), LAYER).layout.xaxis
    assert len(axis.ticktext) == len(axis.tickvals) == 10
    assert all(len(part) <= 4 for text in axis.ticktext for part in text.split("<br>"))


def test_the_heat_map_shows_the_side_asked_for_and_no_diagonal():
    record = make_round(2)
    found = record.layers[LAYER]
    for side, values in (("columns", found.overlap_columns), ("rows", found.overlap_rows)):
        shown = np.array(figures.alignment(record, LAYER, side).data[0].z, dtype=float)
        assert np.isnan(np.diag(shown)).all()
        off = ~np.eye(len(shown), dtype=bool)
        np.testing.assert_allclose(shown[off], values[off])


def test_the_colour_bar_marks_chance_and_the_axes_name_the_ranks():
    figure = figures.alignment(make_round(2), LAYER)
    assert "chance" in figure.data[0].colorbar.ticktext
    assert figure.layout.yaxis.ticktext[3] == "4 (r 16)"


def test_clients_of_one_rank_share_a_colour():
    bars = figures.drift(make_round(1, (2, 16, 2, 16)), LAYER).data
    assert [bar.name for bar in bars] == ["rank 2", "rank 16"]
    assert list(bars[0].x) == ["1", "3"]


def test_bubbles_are_the_samples():
    facts = make_facts()
    total = sum(sum(trace.customdata) for trace in figures.client_data(facts).data)
    assert total == facts.class_counts.sum()


def test_absent_clients_are_pale():
    facts, record = make_facts(), make_round(1, (2, 4))
    opacity = {bar.name: bar.marker.opacity[0] for bar in figures.participation(record, facts).data}
    assert opacity == {"rank 2": 1.0, "rank 4": 1.0, "rank 8": 0.25, "rank 16": 0.25}


def test_clients_that_are_left_out_are_hollow_and_stay_where_they_are():
    record, facts = make_round(1, (2, 4, 2, 4)), make_facts((2, 4, 2, 4))
    for make in (
        lambda: figures.client_data(facts),
        lambda: figures.participation(record, facts),
        lambda: figures.clients_accuracy(record),
        lambda: figures.drift(record, LAYER),
    ):
        plain, hollow = make(), figures.hollow(make(), [0])
        assert dots(hollow) == dots(plain)
        assert "array" in (hollow.layout.xaxis.categoryorder, hollow.layout.yaxis.categoryorder)
        for trace, before in zip(hollow.data, plain.data, strict=True):
            empty = {k for k, colour in zip(trace.meta, trace.marker.color, strict=False) if colour == CLEAR}
            assert empty == set(trace.meta) & {0}
            assert before.marker.color in (trace.marker.color, trace.marker.color[0])  # the first gives the legend its look


def dots(figure):
    """What every point stands for, and where it is, whatever their order."""
    return {(trace.name, *map(str, dot)) for trace in figure.data for dot in zip(trace.meta, trace.x, trace.y, strict=True)}


def test_a_client_that_is_left_out_is_drawn_hollow_and_without_a_line_to_the_server():
    plain, without = figures.idea([2, 4, 8]), figures.idea([2, 4, 8], [1])
    assert len(without.layout.shapes) == len(plain.layout.shapes) - 1
    assert [sum(shape.fillcolor == CLEAR for shape in figure.layout.shapes) for figure in (plain, without)] == [0, 2]


def test_an_error_of_rounding_size_is_not_blown_up():
    history = make_history(2).assign(averaging_error=1e-8, truncation_error=1e-8, aggregation_error=1e-8)
    assert tuple(figures.error_split(history).layout.yaxis.range) == (0, 1)


def test_the_round_looked_at_is_marked():
    shapes = figures.losses(make_history(5), 3).layout.shapes
    assert [shape.x0 for shape in shapes] == [3]


def test_a_full_figure_stays_small():
    sizes = {name: len(figure.to_json()) for name, figure in every_figure((2, 4) * 8).items()}
    assert max(sizes.values()) < 80_000, sizes


@pytest.mark.parametrize(("against", "last"), [("index", 4), ("megabytes_up", 0.8), ("kiloforwards", 10.8)])
def test_a_comparison_can_be_drawn_against_rounds_bytes_and_forward_passes(against, last):
    traces = [figures.Trace("A", "ilora", make_history(4)), figures.Trace("B", "fedit", make_history(4, seed=1))]
    figure = figures.over_rounds(traces, "accuracy", against=against)
    assert figure.data[0].x[-1] == pytest.approx(last)
    assert figure.layout.xaxis.title.text == {"index": "Round", "megabytes_up": "Upload, MB"}.get(
        against, "Forward passes, thousands"
    )


def test_the_table_of_a_figure_holds_every_point_that_is_drawn():
    found = every_figure()
    accuracy = figures.as_table(found["accuracy"])
    assert list(accuracy["y"].astype(float)) == list(100 * make_history(4)["accuracy"])
    overlap = figures.as_table(found["alignment"]).set_index(["y", "x"])["z"]
    record = make_round(3).layers[LAYER]
    assert overlap["client 2 (rank 4)", "client 3 (rank 8)"] == record.overlap_columns[1, 2]
    for name, figure in found.items():
        drawn = [np.size(trace["z"] if trace.type == "heatmap" else trace["x"]) for trace in figure.data]
        assert len(figures.as_table(figure)) == sum(drawn), name


def test_an_exported_page_holds_the_figure_its_sentence_and_the_script():
    page = figures.as_html(every_figure()["accuracy"], "Test <accuracy>", "5 > 4")
    assert "Test &lt;accuracy&gt;" in page
    assert "5 &gt; 4" in page
    assert len(page) > 1_000_000
    assert "cdn.plot.ly" not in page.split("</script>")[-1]


def test_the_band_lies_an_interval_above_and_below_the_mean():
    history = make_history(4)
    figure = figures.over_rounds([Trace("run", "ilora", history, history * 0 + 0.1)], "accuracy")
    band, line = figure.data
    mean = 100 * history["accuracy"]
    np.testing.assert_allclose(band.y, [*(mean - 10), *(mean + 10)[::-1]])
    np.testing.assert_allclose(line.y, mean)


def test_a_dominated_point_is_hollow_and_the_front_passes_it_by():
    points = np.array([[1.0, 0.5], [2.0, 0.9], [2.0, 0.4]])
    figure = figures.trade_off("abc", ["ilora", "fedit", "flora"], points, points * np.nan, ("megabytes_up", "accuracy"))
    front, *marks = figure.data
    assert list(front.x) == [1, 2]
    assert list(front.y) == [50, 90]
    assert [mark.marker.color == CLEAR for mark in marks] == [False, False, True]
