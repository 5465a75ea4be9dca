"""Stage 1, initialise: where do the factors start, at first and at each broadcast?"""

from ilora.methods.ingredient import Ingredient, Option

INGREDIENTS: dict[str, Ingredient] = {
    "random": Ingredient(
        "Random A, zero B",
        "All clients start from the same random A, a client of rank r from its first r rows. B is zero: nothing moves yet.",
        "ilora.stages.initialise:random",
        r"A_{ij}\sim\mathcal U\!\left(-\tfrac1{\sqrt{d_{in}}},\tfrac1{\sqrt{d_{in}}}\right),\quad B=0",
        leaves_private_branch=True,
    ),
    "qr": Ingredient(
        "QR residual",
        "Factors are the first r columns and rows of a QR of the pretrained weight; their product is cut out of the base.",
        "ilora.stages.initialise:qr_residual",
        r"\theta_0=QR,\quad B=\kappa Q_{:,1:r},\quad A=\kappa R_{1:r,:},\quad \theta_k=\theta_0-\sigma BA",
        {
            "rescale": Option(
                False, "shrink the factors so that ||BA|| = 1e-4 sqrt(d_out d_in), as the authors' code does", (True, False)
            ),
            "residual": Option("scaled", "cut out s B A, which leaves the model as it was, or B A as it is", ("scaled", "plain")),
        },
        cuts_out=True,
    ),
    "fresh": Ingredient(
        "Fresh each round",
        "Every client draws a new random A and starts from B = 0 each round, on a base into which the last round was merged.",
        "ilora.stages.initialise:fresh",
        r"A_k\sim\mathcal U,\quad B_k=0\quad\text{in every round}",
        per_client=True,
    ),
    "xavier": Ingredient(
        "Xavier-uniform A, zero B",
        "As random A and zero B, with a gain: the larger A is, the further apart members with other draws start to look.",
        "ilora.stages.initialise:xavier",
        r"A_{ij}\sim\mathcal U(-a,a),\quad a=g\sqrt{6/d_{in}},\quad B=0",
        {"gain": Option(1.0, "size of A, g: 0.41 is peft's, 10 the authors' on CIFAR", least=0.01, greatest=100.0)},
        leaves_private_branch=True,
    ),
}
