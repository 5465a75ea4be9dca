"""The stages of a round in their order, and the ingredients that each can take: names, formulas and options, no tensor."""

from ilora.methods.ingredient import Ingredient
from ilora.methods.ingredients import aggregate, correction, initialise, objective, server, sharing, upload, weighting

INGREDIENTS: dict[str, dict[str, Ingredient]] = {
    "initialise": initialise.INGREDIENTS,
    "sharing": sharing.INGREDIENTS,
    "objective": objective.INGREDIENTS,
    "correction": correction.INGREDIENTS,
    "upload": upload.INGREDIENTS,
    "weighting": weighting.INGREDIENTS,
    "aggregate": aggregate.INGREDIENTS,
    "server": server.INGREDIENTS,
}
STAGES = tuple(INGREDIENTS)
