"""Stage 5: what happens to the factors before they leave? An ingredient maps (start, trained) stacks to what is sent."""

from ilora.adapters import Stack


def as_is(start: Stack, trained: Stack) -> Stack:
    """Send what was trained."""
    return trained
