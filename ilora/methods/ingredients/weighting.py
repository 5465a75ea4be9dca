"""Stage 6, weighting: how much does a client count?"""

from ilora.methods.ingredient import Ingredient, Option
from ilora.methods.ingredients.shared_options import DETECTOR, WARMUP

INGREDIENTS: dict[str, Ingredient] = {
    "samples": Ingredient(
        "Samples",
        "A client counts as much as it has samples.",
        "ilora.stages.weighting:samples",
        r"p_k=n_k/\sum_{j\in S}n_j",
        by_samples=True,
        sends_twice=False,
        leaves_private_branch=True,
    ),
    "update-norm": Ingredient(
        "Size of the update",
        "A client counts as much as its update is large.",
        "ilora.stages.weighting:UpdateNorm",
        r"p_k=\|\Delta W_k\|_F/\sum_{j\in S}\|\Delta W_j\|_F",
        by_samples=False,
        sends_twice=False,
        leaves_private_branch=True,
    ),
    "inverse-truncation": Ingredient(
        "Inverse truncation error",
        "A client counts more, the better its rank could hold the server's model.",
        "ilora.stages.weighting:inverse_truncation",
        r"p_k\propto\frac1{e_k+\varepsilon},\quad e_k=\frac{\|W^t-(W_0+B_k^0A_k^0)\|_F^2}{\|W^t-W_0\|_F^2}",
        {"floor": Option(0.1, "what is added to each error, as a share of the server's update", least=1e-9, greatest=1e6)},
        by_samples=False,
        sends_twice=False,
    ),
    "rank-aware": Ingredient(
        "Samples and rank",
        "A client counts as much as it has samples and slots.",
        "ilora.stages.weighting:rank_aware",
        r"p_k=n_kr_k/\sum_{j\in S}n_jr_j",
        by_samples=False,
        sends_twice=False,
        leaves_private_branch=True,
    ),
    "uniform": Ingredient(
        "Everyone alike",
        "Every client of the round counts the same.",
        "ilora.stages.weighting:uniform",
        r"p_k=1/|S|",
        by_samples=False,
        sends_twice=False,
        leaves_private_branch=True,
    ),
    "confidence": Ingredient(
        "Confidence",
        "A client counts more, the more ordinary its data look to the received model.",
        "ilora.stages.out_of_distribution:Confidence",
        r"p_k\propto n_k\,e^{(c_k-\bar c)/(\tau\,\mathrm{std}\,c)},\quad c_k=-\operatorname{mean}_iE_i",
        {
            "detector": DETECTOR,
            "warmup": WARMUP,
            "gentleness": Option(2.0, "how little confidence matters, tau", least=0.01, greatest=100.0),
        },
        needs_classes=True,
        by_samples=False,
        sends_twice=False,
    ),
    "contribution": Ingredient(
        "Contribution",
        "A client counts more if it moves another way than the others, and if the model of the others fails on its data.",
        "ilora.stages.client_contribution:Contribution",
        r"\Gamma_n^{grad}=1-\cos(\delta_n,\delta_{-n}),\quad\Gamma_n^{data}=\mathrm{CE}_n(w_t+\delta_{-n}),"
        r"\quad p_n=\mu\bar\Gamma_n^{grad}+(1-\mu)\bar\Gamma_n^{data}",
        {
            "mu": Option(0.5, "share of the movement, the rest is the data's, mu", least=0.0, greatest=1.0),
            "clip": Option(0.0, "greatest weight, in shares of 1/C; 0 is no bound", least=0.0, greatest=1000.0),
            "probe": Option(64, "samples on which the model of the others is tried", least=1, greatest=100_000),
        },
        by_samples=False,
        sends_twice=True,
        needs_products=True,
    ),
}
