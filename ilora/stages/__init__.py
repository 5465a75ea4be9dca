"""The stages of a round, in the order in which a round passes them, and who sees what of it.

An ingredient is a function, or a `Stage`: a class that is made once per side of a run from its `RunSetting` and called like a
function. Sharing, objective, correction and upload run at the clients and see a `ClientView`; weighting, aggregate and the
server's step run at the server and see a `ServerView`. docs/add-a-method.md lists the hooks. Imports clients, training and
what lies below; never a server, a round loop or the laboratory.
"""
