"""Stage 3, objective: what does a client minimise?"""

from ilora.methods.ingredient import Ingredient, Option
from ilora.methods.ingredients.shared_options import A_STEP, DETECTOR, GAMMA, LEAST_RANK, REMEMBERS_SLOTS, SPACE, WARMUP
from ilora.methods.traits import While

INGREDIENTS: dict[str, Ingredient] = {
    "cross-entropy": Ingredient(
        "Cross-entropy",
        "Each client minimises the mean cross-entropy of its own samples.",
        "ilora.stages.objectives:cross_entropy",
        r"F_k=\tfrac1{n_k}\sum_i\mathrm{CE}(f(x_i),y_i)",
    ),
    "tail-penalty": Ingredient(
        "Tail penalty",
        "Cross-entropy, and a price on the last slots, so that clients that do not need them let them shrink.",
        "ilora.stages.objectives:tail_penalty",
        r"F_k+\lambda\sum_\ell\|B_{:,t:}\|_F\,\|A_{t:,:}\|_F,\quad t=\lfloor\gamma r_k\rfloor",
        {
            "gamma": GAMMA,
            "tail_weight": Option(0.01, "how dear the tail is, lambda", least=0.0, greatest=10.0),
            "least_rank": LEAST_RANK,
        },
        prices_tail=True,
    ),
    "proximal": Ingredient(
        "+ proximal term",
        "Moving away from what was received costs mu/2 times the squared distance.",
        "ilora.stages.objectives:proximal",
        r"F_k(\theta)+\tfrac{\mu}{2}\|\theta-\theta_t\|^2",
        {"mu": Option(0.01, "strength of the pull, mu", least=0.0, greatest=100.0), "space": SPACE},
        pulls_back=True,
    ),
    "dual": Ingredient(
        "+ dual and proximal term",
        "Each client remembers where its data pulled it, and tilts its loss against it.",
        "ilora.stages.duals:Dual",
        r"F_k(\theta)+\langle\lambda_k,\theta\rangle+\tfrac{\gamma_k}2\|\theta-\theta_t\|^2,"
        r"\quad\lambda_k\leftarrow\lambda_k+a\gamma_k(\theta_k-\theta_t)",
        {
            "gamma": Option(0.01, "strength of the pull and of the tilt, gamma", least=0.0, greatest=100.0),
            "a": A_STEP,
            "space": SPACE,
            "penalty": Option(
                "relative",
                "gamma divided by a client's relative amount of data, as FedDyn's code does, or the same for all",
                ("relative", "equal"),
            ),
        },
        needs_client_training=True,
        pulls_back=True,
        remembers_slots=REMEMBERS_SLOTS,
    ),
    "contrast": Ingredient(
        "+ contrast between models",
        "Features near those of the received model and unlike those of the client's last model cost less.",
        "ilora.stages.objectives:Contrast",
        r"F_k+\mu\,\ell_{con}(z,z_{glob},z_{prev})",
        {
            "contrast": Option(1.0, "weight of the contrast, mu", least=0.0, greatest=100.0),
            "temperature": Option(0.5, "temperature of the contrast, T", least=0.01, greatest=10.0),
        },
        needs_client_training=True,
        runs_earlier_model=True,
    ),
    "roughness": Ingredient(
        "+ proximal term by roughness",
        "The proximal term is as strong as the client's loss landscape is rough.",
        "ilora.stages.roughness:Roughness",
        r"F_k(\theta)+\tfrac{\lambda}{2}\rho_k\|\theta-\theta_t\|^2",
        {
            "pull": Option(0.1, "strength of the pull, lambda", least=0.0, greatest=100.0),
            "index": Option("saturated", "rho_k = I / (I + tau_I), or I itself", ("saturated", "raw")),
            "saturation": Option(0.2, "roughness at which half the pull acts, tau_I", least=1e-6, greatest=100.0),
            "normalise": Option("range", "each direction's variation over its range, or as it is", ("range", "none")),
            "refresh": Option(2, "measure every so many rounds", least=1, greatest=1000),
            "directions": Option(16, "random directions, M", least=2, greatest=256),
            "points": Option(11, "points on each, S", least=3, greatest=101),
            "radius": Option(0.02, "how far to look, as a share of ||theta_0||", least=1e-6, greatest=1.0),
            "space": SPACE,
        },
        needs_client_training=True,
        pulls_back=True,
    ),
    "pseudo-out": Ingredient(
        "Strange samples weigh more",
        "Samples that look out of distribution to the received model count more in the loss.",
        "ilora.stages.out_of_distribution:PseudoOut",
        r"F_k=\operatorname{mean}_i\,w_i\,\mathrm{CE}_i,\quad w_i\propto1+\beta\,\sigma(\kappa\bar E_i)",
        {
            "detector": DETECTOR,
            "form": Option("soft", "weights by a sigmoid, or one step above the quantile", ("soft", "hard")),
            "quantile": Option(0.75, "where the hard tail begins", least=0.0, greatest=1.0),
            "beta": Option(1.0, "how much more the strangest count, beta", least=0.0, greatest=100.0),
            "kappa": Option(1.0, "steepness of the sigmoid, kappa", least=0.0, greatest=100.0),
            "warmup": WARMUP,
        },
        needs_classes=True,
        needs_client_training=True,
    ),
    "grpo": Ingredient(
        "GRPO",
        "The model answers each prompt several times; answers that are better than their group become more likely.",
        "ilora.stages.policy_gradient:Grpo",
        r"F=-\tfrac1G\sum_jA_j\log\pi(y_j|x)-\lambda H(\pi)+\beta\,\mathrm{KL}(\pi\|\pi_{ref}),"
        r"\quad A_j=\frac{R_j-\bar R}{\mathrm{std}\,R+\epsilon}",
        {
            "group": Option(8, "answers to each prompt, G", least=2, greatest=256),
            "bonus": Option(
                "adaptive",
                "the price of certainty: alpha_t by difficulty (AER), alpha_t for every prompt, a fixed number, or 0",
                ("adaptive", "controller", "fixed", "none"),
            ),
            "tau": Option(0.4, "target entropy as a share of the first one, tau", least=0.0, greatest=1.0),
            "rho": Option(1.0, "share of right answers above which nothing is explored, rho", least=0.01, greatest=1.0),
            "eta": Option(0.2, "step of the controller in a round, eta", least=0.0, greatest=100.0),
            "alpha_max": Option(5.0, "greatest coefficient", least=0.0, greatest=1000.0),
            "coefficient": Option(0.3, "the coefficient where it is fixed", least=0.0, greatest=1000.0),
            "kl": Option(0.0, "price of leaving the first policy, beta", least=0.0, greatest=100.0),
        },
        needs_classes=True,
        runs_earlier_model=While("kl", lambda kl: bool(kl > 0), "kl = 0"),
    ),
    "disentangle": Ingredient(
        "Disentangle",
        "First the private branch learns what the shared one does not say, then the other way round, under borrowed styles.",
        "ilora.stages.branches:Disentangle",
        r"P:\ \mathrm{CE}(h(z_p),y)+\lambda I(z_p;\bar z_g),\quad"
        r" G:\ \mathrm{CE}(h(z_g),y)+\lambda I(z_g;\bar z_p)+\nu\,\mathbb E_{j\ne k}\mathrm{CE}(h(z_g+v_{j,y}),y)",
        {
            "dependence": Option(0.1, "price of what the branches have in common, lambda", least=0.0, greatest=100.0),
            "transfer": Option(0.5, "weight of samples under borrowed styles, nu", least=0.0, greatest=100.0),
        },
        needs_classes=True,
        same_steps=True,
        needs_private_branch=True,
        leaves_private_branch=True,
    ),
}
