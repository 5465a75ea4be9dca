"""Stage 5: what happens to the factors before they leave? An ingredient maps the turn to the parameters that are sent."""

from ilora.stacked import Parameters
from ilora.turn import Turn


def as_is(turn: Turn) -> Parameters:
    """Send what was trained."""
    return turn.result
