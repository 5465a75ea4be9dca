"""Stage 5, upload: what happens to the factors before they leave?"""

from ilora.methods.ingredient import Ingredient, Option
from ilora.methods.ingredients.shared_options import GAMMA, LEAST_RANK

INGREDIENTS: dict[str, Ingredient] = {
    "as-is": Ingredient(
        "As they are",
        "Factors leave the client unchanged.",
        "ilora.stages.uploads:as_is",
        r"(A_k,B_k)",
        keeps_products=True,
        prunes=False,
        leaves_private_branch=True,
    ),
    "rotate": Ingredient(
        "Rotate",
        "A client turns its slots towards the factors it received. Its product stays, but slots of different clients match.",
        "ilora.stages.uploads:rotate",
        r"R_k=\arg\min_{R^\top R=I}\|R^\top A_k-A_{ref}\|_F,\quad(R_k^\top A_k,\,B_kR_k)",
        {"soft": Option(0.5, "how far to turn: 0 not at all, 1 the full rotation", least=0.0, greatest=1.0)},
        keeps_slots=False,
        keeps_products=True,
        prunes=False,
    ),
    "prune-tail": Ingredient(
        "Prune a shrinking tail",
        "A client whose last slots shrank in training drops them and goes on with a smaller rank.",
        "ilora.stages.uploads:prune_tail",
        r"\|B_{:,t:}\|\|A_{t:,:}\|\ \text{shrank}\;\Rightarrow\;r_k\leftarrow\max(r_{min},\lfloor\gamma r_k\rfloor)",
        {"gamma": GAMMA, "least_rank": LEAST_RANK},
        keeps_products=True,
        prunes=True,
    ),
    "prune-weak": Ingredient(
        "Prune weak slots",
        "A client drops its last slots while they are weak in every layer.",
        "ilora.stages.uploads:prune_weak",
        r"|\lambda_i|\,\|b_i\|\,\|a_i\|<\tau\max_j|\lambda_j|\,\|b_j\|\,\|a_j\|",
        {"threshold": Option(0.1, "share of the strongest slot below which a slot is weak, tau", least=0.0, greatest=1.0)},
        keeps_products=True,
        prunes=True,
    ),
    "without-scales": Ingredient(
        "Without scales",
        "Slots are sent as they are, not as a sketch scaled them.",
        "ilora.stages.uploads:without_scales",
        r"(A_k,B_k)\ \text{instead of}\ (A_k,B_kS_k)",
        keeps_products=False,
        prunes=False,
        drops_scales=True,
    ),
    "quantise": Ingredient(
        "Quantise",
        "A client sends what it changed in 8, 4 or 2 bits a number, each row of A and column of B with its own step.",
        "ilora.stages.uploads:Quantise",
        r"x\approx\Delta\,\mathrm{round}(x/\Delta),\quad\Delta=\max|x|/(2^{b-1}-1)",
        {"bits": Option(8, "bits of a number on its way up", (8, 4, 2))},
        keeps_products=False,
        prunes=False,
        leaves_private_branch=True,
    ),
}
