"""The clients of a federation: who holds what, who takes part in a round, which samples make which batch.

May import the experiment, the tasks, and what lies below them; never a stage, a server or the laboratory.
"""
