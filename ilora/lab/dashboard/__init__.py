"""The screen: the only part of the package that imports streamlit; app.py and pages/ are its entry points.

May import everything but the command line and the suites. From top to bottom: navigation, views, controls, charts, run_group,
then url and data_access.
"""
