"""Low-rank adapters: factors, their products, their scaling, and what reaches the server and leaves it.

Imports no model, no method and, in this file, no torch.
"""
