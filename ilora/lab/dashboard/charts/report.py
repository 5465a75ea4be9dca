"""A run on one page: settings, headline numbers, figures with their sentences, as one HTML file with everything in it."""

from html import escape

from ilora.lab import figures
from ilora.lab.analysis.measures import measure_of, with_totals
from ilora.lab.captions.words import layer_names
from ilora.lab.content.reproduce import as_python
from ilora.lab.dashboard import data_access
from ilora.lab.dashboard.charts.catalogue import BY_LAYER, View, reading
from ilora.lab.figures.export import PAGE, STYLE
from ilora.lab.runs.store import Run
from ilora.methods import METHODS, PROVENANCE
from ilora.records import RunFacts, main_score

SHOWN = ("accuracy", "loss", "error", "alignment", "drift", "spectrum", "client-data", "clients-accuracy", "traffic")
HEADLINE = ("loss", "aggregation_error", "alignment", "drift", "effective_rank", "megabytes_up")


def report(run: Run) -> str:
    """The page; it needs at least one finished round, and says so where there is none."""
    history, facts = data_access.history(run), data_access.facts(run)
    parts = [f"<h1>{escape(run.name)}</h1>", *_note(run)]
    record = data_access.load_round(run, run.done) if run.done else None
    if record is None or facts is None:
        parts.append("<p>No round of this run is finished.</p>")
    else:
        last, main = with_totals(history).iloc[-1], main_score(history.columns)
        parts += [_table({measure_of(name).title: measure_of(name).show(float(last[name])) for name in (main, *HEADLINE)})]
        layer = facts.layers[0]
        view = View(run, history, record, facts, layer)
        for number, name in enumerate(SHOWN):
            chart = reading(name, main)
            where = f", {layer_names(facts.layers)[layer]}" if name in BY_LAYER else ""
            block = figures.as_block(chart.figure(view), chart.sentence(view), script=number == 0)
            parts.append(f"<h2>{escape(chart.title + where)}</h2>{block}<p>{escape(chart.reading)}</p>")
    parts += ["<h2>Method</h2>", *_method(run), "<h2>Settings</h2>", _table(_settings(run, facts))]
    parts += ["<h2>The same run in Python</h2>", f"<pre>import ilora\n\nilora.run({escape(as_python(run.experiment))})</pre>"]
    return PAGE.format(title=escape(run.name), style=STYLE, body="\n".join(parts))


def _note(run: Run) -> list[str]:
    counted = f"<p>{run.done} of {run.rounds} rounds, run {escape(run.id)}.</p>"
    return [counted, f"<p>{escape(run.note)}</p>"] if run.note else [counted]


def _method(run: Run) -> list[str]:
    method = METHODS[run.experiment.method]
    source = ", ".join(filter(None, (method.authors, str(method.year or ""), method.paper)))
    trust = PROVENANCE[method.provenance_of(run.experiment.options.get("mode", ""))]
    about = f"<p><strong>{escape(method.title)}</strong>. {escape(source)}. Formulas: {escape(trust)}.</p>"
    return [about, f"<p>{escape(' '.join((method.idea, method.note)).strip())}</p>"]


def _settings(run: Run, facts: RunFacts | None) -> dict[str, str]:
    settings = {name: str(value) for name, value in run.experiment.to_dict().items() if value not in ([], {}, "", None)}
    if facts is None:
        return settings
    ranks = ", ".join(str(int(rank)) for rank in facts.ranks)
    return settings | {"ranks": ranks, "device": facts.device, "precision": facts.precision, "threads": str(facts.threads)}


def _table(rows: dict[str, str]) -> str:
    cells = "".join(f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<table>{cells}</table>"
