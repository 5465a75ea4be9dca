"""Learning from rewards: the adapted classifier is a policy, its answer a class. On a page of their own, never in a ranking."""

from ilora.ingredients import Ingredient, Option
from ilora.method import Method

NOT_COVERED: dict[str, tuple[str, ...]] = {
    "aer": (
        "answers of more than one token: sequence policies, entropy of single tokens, chains of reasoning",
        "comparisons with Clip-Cov and Clip-Higher, and the paper's benchmarks",
        "whether the gain for reasoning carries over: a task with one right answer has its optimum at entropy 0",
    ),
    "mor": (
        "generated text and images, and credit within an answer",
        "human preferences: ours are made from labels",
        "the paper's own way to train the router, and rewards that are refreshed round by round",
        "privacy: the reward heads, and the prompts that clients give away, are seen by the server",
    ),
}

INGREDIENTS: dict[str, dict[str, Ingredient]] = {
    "objective": {
        "grpo": Ingredient(
            "GRPO",
            "The model answers each prompt several times; answers that are better than their group become more likely.",
            "ilora.alignment.grpo:Grpo",
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
        ),
    },
    "sharing": {
        "rewards": Ingredient(
            "Reward heads",
            "A client sends one reward head of its own rank, once; the server trains the policy on the clients' fused rewards.",
            "ilora.alignment.mixture:MixtureOfRewards",
            r"R(x,y)=\sum_kg_k(x)\,\tilde r_k(x,y),\quad r_k(x,y)=\langle V_kW_k\varphi(x),e_y\rangle",
            {
                "reward": Option(
                    "router",
                    "whose reward counts: by a learned router, all alike, the client with most samples, or the true label",
                    ("router", "uniform", "single", "oracle"),
                ),
                "anchors": Option(100, "prompts with a known preference, for the router", least=1, greatest=100_000),
                "public": Option(0.2, "share of its samples that a client gives away as prompts", least=0.01, greatest=0.9),
            },
            whole=True,
            needs_classes=True,
        ),
    },
}

METHODS: dict[str, Method] = {
    "aer": Method(
        title="AER",
        paper="arXiv:2510.10959",
        year=2026,
        idea="A policy that grows too sure too soon stops learning; a thermostat keeps its entropy at a share of the first one.",
        formula=r"J=J_{GRPO}+\mathbb E_q[\lambda(q)H(\pi)],\quad\lambda(q)=\alpha_t\max(0,1-g(q)/\rho);"
        r"\qquad\alpha_{t+1}=\mathrm{clip}(\alpha_t+\eta(\tau H_0-H_t),0,\alpha_{max})",
        provenance="reconstruction",
        note="The reward is 1 for the right class, so it can be verified. Its accuracy does not compare with methods that see the"
        " label: it stands on the page Alignment.",
        choices=(
            "the linear ramp of lambda; G = 8, tau = 0.4, rho = 1, alpha_max = 5",
            "eta = 0.2 a round",
            "federated: the server holds alpha, clients send their mean entropy; an extension of ours",
            "one update for each group of answers, so that the ratio is 1 and clipping never acts",
            "entropy and pass@k are exact, on the clients' own prompts, before they train",
        ),
        cost="r_k (d_in + d_out) floats up and down, and one more; one pass over the local data a round",
        objective="grpo",
        alignment=True,
    ),
    "mor": Method(
        title="MoR",
        paper="arXiv:2605.03426",
        year=2026,
        idea="Exchange no parameters: clients send what they find good, a router learns whom to trust, the server trains alone.",
        formula=r"R(x,y)=\sum_kg_k(x)\,\tilde r_k(x,y),\quad-\mathbb E\log\sigma(R(x,y^+)-R(x,y^-));"
        r"\qquad\tfrac1G\sum_jA_j\log\pi(y_j|x)-\beta\,\mathrm{KL}(\pi\|\pi_{ref})",
        provenance="reconstruction",
        note="The first posting, arXiv:2602.00485, was withdrawn by its first author. reward=single, uniform and"
        " oracle are its controls. Its accuracy stands on the page Alignment.",
        choices=(
            "reward heads of rank r_k over frozen features, from preferences made of labels",
            "rewards standardised for each client; a linear router over the same features, from 100 anchor pairs",
            "prompts are a fifth of everyone's samples, given away without labels but for the anchors",
            "a round is as many forward passes at the server as all clients would make",
            "beta = 0.04 to the first policy, exact KL; one update for each group, so that clipping never acts",
        ),
        cost="r_k (d + classes) floats up, once; nothing down",
        sharing="rewards",
        objective="grpo",
        options={"bonus": "none", "kl": 0.04},
        alignment=True,
    ),
}
