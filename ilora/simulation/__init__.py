"""The round loop, the server and what a round leaves in the record.

May import stages, clients, training and what lies below; never the laboratory.
"""

from ilora.simulation.round_loop import Simulation

__all__ = ["Simulation"]
