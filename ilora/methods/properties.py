"""What can be said of a method from its ingredients' traits: is its aggregate exact, are mixed ranks its own, what comes down?"""

from ilora.methods.ingredient import Ingredient
from ilora.methods.ingredients import INGREDIENTS
from ilora.methods.method import Method
from ilora.methods.traits import COMMON_FACTOR_ONLY

NOT_DECLARED = "not declared"  # an ingredient does not say what would have to be known


def exact(method: Method) -> str:
    """Whether the server holds the ideal update, the mean by samples of what the clients learned: "yes", "no", or how far."""
    if method.personalised:
        return "no common model"
    sharing, upload, weighting, rule, server = _chosen(method, "sharing", "upload", "weighting", "aggregate", "server")
    how = rule.exact
    others = (sharing.factor_is_common, upload.keeps_products, upload.prunes, weighting.by_samples, server.takes_aggregate)
    if how is None or None in others:
        return NOT_DECLARED
    if how == COMMON_FACTOR_ONLY:
        how = "yes" if sharing.factor_is_common else "no"
    if not (upload.keeps_products and server.takes_aggregate):
        return "no"
    if weighting.by_samples:
        return "no" if upload.prunes else how
    return "for its own weights" if how == "yes" else "no"


def mixed_ranks(method: Method) -> str:
    """How clients of different ranks come together: by the method's own means, by a nested common factor, or by padding."""
    sharing, upload, rule = _chosen(method, "sharing", "upload", "aggregate")
    if None in (sharing.one_factor, sharing.factor_is_common, upload.prunes, rule.pads):
        return NOT_DECLARED
    if not rule.pads or sharing.whole or upload.prunes:
        return "native"
    return "nested factor" if sharing.one_factor or sharing.factor_is_common else "padding, ours"


def merges(method: Method) -> str:
    """What goes into everyone's base for good."""
    (rule,) = _chosen(method, "aggregate")
    return NOT_DECLARED if rule.merges is None else rule.merges or "no"


def download(method: Method) -> str:
    """Floats that come down in a round, for each layer and client, without the head."""
    sharing, correction, weighting, rule = _chosen(method, "sharing", "correction", "weighting", "aggregate")
    floats = rule.download if rule.merges else sharing.download
    if floats is None or None in (sharing.download, correction.sends_twice, weighting.sends_twice, rule.merges):
        return NOT_DECLARED
    return f"2 {floats}" if correction.sends_twice or weighting.sends_twice else floats


def _chosen(method: Method, *stages: str) -> list[Ingredient]:
    """A method's ingredients of some stages."""
    return [INGREDIENTS[stage][method.ingredients[stage]] for stage in stages]
