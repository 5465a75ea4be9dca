"""Charts as a page shows them: figure, caption, how to read it, export.

May import figures and captions; never a view.
"""
