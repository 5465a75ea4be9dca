"""What the laboratory tells and offers: lessons, presets, scenarios, limits, glossary, the recorded run.

May import runs, analysis and the science; no torch, no plotly, no streamlit, never a figure or a page.
"""
