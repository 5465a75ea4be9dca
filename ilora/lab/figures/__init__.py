"""Plotly figures as pure functions of records: used by pages, notebooks and reports alike.

Every figure has a fixed height and a `uirevision`, draws SVG, leaves its ground transparent so that light and dark both
work, and says its units on hover. Colours are Okabe and Ito's: colour and dash by method everywhere, colour by rank within a run.
"""

from ilora.lab.figures.calibration import branch, calibration_over_rounds, ensemble, probe, reliability
from ilora.lab.figures.clients import clients_accuracy, hollow, idea, participation, shows_clients
from ilora.lab.figures.collapse import coverage, effective_rank_over_rounds, energy_over_rounds, spectra_over_rounds
from ilora.lab.figures.data import classes_seen, client_data, sizes
from ilora.lab.figures.export import as_block, as_html, as_table
from ilora.lab.figures.factors import factor_maps, handed_back, update_maps
from ilora.lab.figures.frame import method_style, rank_colours
from ilora.lab.figures.layers import alignment, angles, drift, error_by_layer, spectrum
from ilora.lab.figures.rounds import Trace, error_split, losses, over_rounds, traffic
from ilora.lab.figures.rules import rule_errors, rule_label, truncation
from ilora.lab.figures.subspaces import angle_spectrum, corrections, paths, planes, turned
from ilora.lab.figures.trade_off import trade_off

__all__ = [
    "Trace",
    "alignment",
    "angle_spectrum",
    "angles",
    "as_block",
    "as_html",
    "as_table",
    "branch",
    "calibration_over_rounds",
    "classes_seen",
    "client_data",
    "clients_accuracy",
    "corrections",
    "coverage",
    "drift",
    "effective_rank_over_rounds",
    "energy_over_rounds",
    "ensemble",
    "error_by_layer",
    "error_split",
    "factor_maps",
    "handed_back",
    "hollow",
    "idea",
    "losses",
    "method_style",
    "over_rounds",
    "participation",
    "paths",
    "planes",
    "probe",
    "rank_colours",
    "reliability",
    "rule_errors",
    "rule_label",
    "shows_clients",
    "sizes",
    "spectra_over_rounds",
    "spectrum",
    "trade_off",
    "traffic",
    "truncation",
    "turned",
    "update_maps",
]
