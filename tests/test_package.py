"""`import ilora` is light, stays right however often its names are used, and needs no streamlit and no plotly."""

import subprocess
import sys

from tests.conftest import ROOT


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout


def test_the_methods_and_experiments_are_there_without_torch():
    python(
        "import sys, ilora\n"
        "ilora.METHODS['ilora'], ilora.Experiment(ranks=[2, 4]).to_json(), ilora.Method, ilora.register_method\n"
        "assert not {'torch', 'transformers', 'peft', 'pandas', 'streamlit', 'plotly'} & set(sys.modules)"
    )


def test_a_round_runs_where_streamlit_and_plotly_cannot_be_imported_and_every_public_name_stays_what_it_is():
    """`ilora.simulate` is a function and a module of that name: importing the module must not take the function's place."""
    python(
        "import sys\n"
        "sys.modules['streamlit'] = sys.modules['plotly'] = None\n"  # importing either raises ImportError
        "import torch; torch.set_num_threads(1)\n"
        "import ilora\n"
        "experiment = ilora.Experiment(ranks=[2, 4], rounds=1, local_steps=1, batch_size=2, options={'correction': 'none'})\n"
        "assert len(ilora.run(experiment).history) == 1\n"
        "import ilora.lab.runs.leases, ilora.records, ilora.lab.captions.rounds, ilora.lab.runs.store\n"
        "names = {name: getattr(ilora, name) for name in ilora.__all__}\n"
        "assert all(getattr(ilora, name) is names[name] for name in names)\n"
        "assert [round.index for round in ilora.simulate(experiment)] == [1], ilora.simulate\n"
        "assert ilora.diagnostics.effective_rank(torch.ones(3)) > 2.9\n"
        "assert callable(ilora.aggregate)\n"
    )


def test_what_a_method_of_ones_own_is_made_of_is_public_and_comes_without_torch_where_it_can():
    python(
        "import sys, ilora\n"
        "assert {*ilora.__all__, 'figures', 'lessons', '__version__'} == set(dir(ilora))\n"
        "ilora.Ingredient, ilora.Option, ilora.Clash, ilora.REFUSALS\n"
        "assert 'torch' not in sys.modules\n"
        "from ilora.lora import aggregation, factors\n"
        "assert (ilora.Upload, ilora.Aggregate) == (aggregation.Upload, aggregation.Aggregate)\n"
        "assert ilora.Factors is factors.Factors\n"
    )


def test_an_unknown_name_is_an_attribute_error():
    python("import ilora\ntry: ilora.simulat\nexcept AttributeError as e: assert 'simulat' in str(e)\nelse: raise SystemExit(1)")
