"""What can be said of a method from its ingredients alone: is its aggregate exact, are mixed ranks its own, what comes down?"""

from ilora.methods.ingredients import INGREDIENTS
from ilora.methods.method import Method

COMMON_FACTOR = ("b-only", "alternate", "alternate-top", "rewards")  # one factor, or both, is the same for all: a mean is exact
OF_FACTORS = ("mean", "mean-of-changes")
EXACT = ("stack", "mean-and-residual")
CUT = {
    "svd": "up to the cut to rank r",
    "concat-qr": "up to the cut to rank r",
    "concat-pivoted-qr": "up to the cut to rank r",
    "thresholded-stack": "up to the threshold",
    "full-rank-deltas": "for changes",
}
PRODUCTS = (*CUT, "stack", "rank-partitions", "owners-mean")  # need no padding
MERGES = {"stack": "everything", "thresholded-stack": "everything", "mean-and-residual": "the residual"}
DOWN = {  # by sharing, in floats a layer and client
    "b-only": "r_k d_out",
    "alternate": "r_k d_out or r_k d_in",
    "a-only": "r_k d_in",
    "diagonal": "r_k (d_out + 1)",
    "top-slots": "R (d_in + d_out)",
    "alternate-top": "R d_out or R d_in",
    "personal-slots": "r_shared (d_in + d_out)",
    "rewards": "0",
    "members": "N r_k (d_in + d_out)",
    "branches": "(r_k - q) (d_in + d_out) + features",
}
MERGED_DOWN = {
    "stack": "rho (d_in + d_out)",
    "thresholded-stack": "p (d_in + d_out)",
    "mean-and-residual": "r_k (d_in + d_out) + residual",
}
TWICE = ("control-variates", "scaffold", "global-direction", "contribution")  # send something as large beside it


def exact(method: Method) -> str:
    """Whether the server holds the ideal update, the mean by samples of what the clients learned: "yes", "no", or how far."""
    if method.personalised:
        return "no common model"
    if method.weighting == "rank-aware" and method.sharing == "diagonal":
        return "for its own weights"
    plain = method.weighting == "samples" and method.server == "take" and method.upload == "as-is"
    if plain and (method.aggregate in EXACT or (method.aggregate in OF_FACTORS and method.sharing in COMMON_FACTOR)):
        return "yes"
    return CUT.get(method.aggregate, "no") if plain else "no"


def mixed_ranks(method: Method) -> str:
    """How clients of different ranks come together: by the method's own means, by a nested common factor, or by padding."""
    rank_is_a_budget = INGREDIENTS["sharing"][method.sharing].whole
    if method.aggregate in PRODUCTS or rank_is_a_budget or method.upload.startswith("prune"):
        return "native"
    return "nested factor" if method.sharing in (*COMMON_FACTOR, "a-only") else "padding, ours"


def merges(method: Method) -> str:
    """What goes into everyone's base for good."""
    return MERGES.get(method.aggregate, "no")


def download(method: Method) -> str:
    """Floats that come down in a round, for each layer and client, without the head."""
    floats = MERGED_DOWN.get(method.aggregate) or DOWN.get(method.sharing, "r_k (d_in + d_out)")
    return f"2 {floats}" if {method.correction, method.weighting} & set(TWICE) else floats
