"""The stages of a round, one file each, in the order in which a round passes them.

An ingredient is a function, or a class that is made once per run from a `RunSetting` and called like one. A class may keep
tensors between rounds in `state` (they are part of a run's snapshot). It may have `prepare(turn, work)`, which returns the local
work as the clients shall do it, and `end(turn)`, called when the round is over; docs/add-a-method.md lists the other hooks. What
it puts into `turn.columns` is recorded.
"""
