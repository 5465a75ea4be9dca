"""Long comparisons: every method over several seeds, ten methods over several tasks.

May import runs and analysis; never a page.
"""
