"""Controls that several pages share: the experiment's form, the choice of run, round and layer.

May import charts; never a view.
"""
