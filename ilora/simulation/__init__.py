"""The round loop, the server, the clients' side of a round, and what a round leaves in the record.

May import stages, clients, training and what lies below; never the laboratory. Imports nothing here, so that the source of its
modules can be shown without torch.
"""
