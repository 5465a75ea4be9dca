"""Runs on disk and the processes that train them: store, queue, workers, archives.

Torch is loaded by the worker alone; never imports a figure or a page.
"""
