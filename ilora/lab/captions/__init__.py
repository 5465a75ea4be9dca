"""The sentences that stand beside the charts, made from the numbers of a run.

Pure functions of records; no torch, no plotly, no streamlit, no store.
"""
