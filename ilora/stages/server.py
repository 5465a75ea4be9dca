"""Stage 8: what does the server do with the aggregate? An ingredient maps one layer's Aggregate to the one that is kept."""

from ilora.aggregation import Aggregate


def take(aggregate: Aggregate) -> Aggregate:
    """Keep it as it is."""
    return aggregate
