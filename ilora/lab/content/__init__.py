"""What the laboratory tells and offers: lessons, presets, scenarios, limits, glossary, the recorded run.

No torch, no streamlit; may read records, experiments and methods.
"""
