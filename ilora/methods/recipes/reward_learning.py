"""Learning from rewards: the adapted classifier is a policy, its answer a class. On a page of their own, never in a ranking."""

from ilora.methods.method import Method

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


METHODS: dict[str, Method] = {
    "aer": Method(
        title="AER",
        paper="arXiv:2510.10959",
        year=2026,
        idea="An entropy bonus with a controller keeps the policy's entropy at a share of its first value.",
        formula=r"J=J_{GRPO}+\mathbb E_q[\lambda(q)H(\pi)],\quad\lambda(q)=\alpha_t\max(0,1-g(q)/\rho);"
        r"\qquad\alpha_{t+1}=\mathrm{clip}(\alpha_t+\eta(\tau H_0-H_t),0,\alpha_{max})",
        provenance="reconstruction",
        source="paper only",
        note="The reward is 1 for the right class, so it can be verified. Its accuracy does not compare with methods that see the"
        " label: it stands on the page Rewards.",
        choices=(
            "the linear ramp of lambda; G = 8, tau = 0.4, rho = 1, alpha_max = 5",
            "eta = 0.2 a round",
            "federated: the server holds alpha, clients send their mean entropy; an extension of ours",
            "one update for each group of answers, so that the ratio is 1 and clipping never acts",
            "entropy and pass@k are exact, on the clients' own prompts, before they train",
        ),
        cost="r_k (d_in + d_out) floats up and down, and one more; one pass over the local data a round",
        objective="grpo",
        learns_from_reward=True,
    ),
    "mor": Method(
        title="MoR",
        paper="arXiv:2605.03426",
        year=2026,
        idea="Exchange no parameters: clients send reward heads, a router learns how to weight them, the server trains alone.",
        formula=r"R(x,y)=\sum_kg_k(x)\,\tilde r_k(x,y),\quad-\mathbb E\log\sigma(R(x,y^+)-R(x,y^-));"
        r"\qquad\tfrac1G\sum_jA_j\log\pi(y_j|x)-\beta\,\mathrm{KL}(\pi\|\pi_{ref})",
        provenance="reconstruction",
        source="paper only",
        note="The first posting, arXiv:2602.00485, was withdrawn by its first author. reward=single, uniform and"
        " oracle are its controls. Its accuracy stands on the page Rewards.",
        choices=(
            "reward heads of rank r_k over frozen features, from preferences made of labels",
            "rewards standardised for each client; a linear router over the same features, from 100 anchor pairs",
            "prompts are a fifth of every client's samples, sent without labels except for the anchors",
            "a round makes the same number of forward passes at the server as all clients would make",
            "beta = 0.04 to the first policy, exact KL; one update for each group, so that clipping never acts",
        ),
        cost="r_k (d + classes) floats up, once; nothing down",
        sharing="rewards",
        objective="grpo",
        options={"bonus": "none", "kl": 0.04},
        learns_from_reward=True,
    ),
}
