"""Stage 8: what does the server do with it? An ingredient maps (turn, layer, that layer's Aggregate) to the one that is kept.

A class may have `head(turn, before, mean)`, which maps the server's head and the mean of the clients' to the one that is kept.
"""

from ilora.aggregation import Aggregate
from ilora.turn import Turn


def take(turn: Turn, layer: str, aggregate: Aggregate) -> Aggregate:
    """Keep it as it is."""
    return aggregate
