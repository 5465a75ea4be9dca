"""The screen: the only part of the package that imports streamlit, beside app.py and pages/."""
