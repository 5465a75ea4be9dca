"""Measures of finished rounds: subspaces, rules tried anew on stored factors, differences between runs and their uncertainty.

May import the science; never a figure, a page or streamlit.
"""
