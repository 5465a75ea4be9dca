"""Local training: all clients of a round at once, or one after the other on stock peft, to the same numbers.

Sees what a client does in a round (`LocalWork`) and a frozen model; never a server or a method.
"""
