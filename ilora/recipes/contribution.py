"""Who counts how much, and what stays personal: strange samples, contributions, slots that never leave a client."""

from ilora.ingredients import Ingredient, Option
from ilora.method import Method

DETECTOR = Option("energy", "what makes a sample strange: energy of its logits, or a small largest softmax", ("energy", "msp"))
WARMUP = Option(3, "rounds before the model's opinion counts", least=0, greatest=1000)

INGREDIENTS: dict[str, dict[str, Ingredient]] = {
    "sharing": {
        "personal-slots": Ingredient(
            "Personal slots",
            "Every third round a client keeps those of its shared slots that changed most; from then on they stay with it.",
            "ilora.stages.personal:PersonalSlots",
            r"i\in\mathrm{top}_{p}\,\Big|\,\|b_i\|\|a_i\|-\|b_i^{old}\|\|a_i^{old}\|\,\Big|\;\text{becomes personal}",
            {
                "fraction": Option(0.25, "share of the shared slots that become personal at once, p", least=0.0, greatest=1.0),
                "limit": Option(0.8, "share of a client's slots that may be personal", least=0.0, greatest=1.0),
                "refresh": Option(3, "let more slots become personal every so many rounds", least=1, greatest=1000),
            },
        ),
    },
    "objective": {
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
        ),
    },
    "correction": {
        "split-moments": Ingredient(
            "Split moments",
            "Personal slots are trained first, then shared ones, with AdamW moments of their own; the personal moments are kept.",
            "ilora.stages.personal:SplitMoments",
            r"(m,v)_{personal}\ \text{kept},\quad(m,v)_{shared}\leftarrow0\ \text{each round}",
            same_steps=True,
        ),
    },
    "weighting": {
        "confidence": Ingredient(
            "Confidence",
            "A client counts more, the more ordinary its data look to the received model.",
            "ilora.stages.out_of_distribution:confidence",
            r"p_k\propto n_k\,e^{(c_k-\bar c)/(\tau\,\mathrm{std}\,c)},\quad c_k=-\operatorname{mean}_iE_i",
            {
                "detector": DETECTOR,
                "warmup": WARMUP,
                "gentleness": Option(2.0, "how little confidence matters, tau", least=0.01, greatest=100.0),
            },
            needs_classes=True,
        ),
        "contribution": Ingredient(
            "Contribution",
            "A client counts more if it moves another way than the others, and if the model of the others fails on its data.",
            "ilora.stages.contribution:Contribution",
            r"\Gamma_n^{grad}=1-\cos(\delta_n,\delta_{-n}),\quad\Gamma_n^{data}=\mathrm{CE}_n(w_t+\delta_{-n}),"
            r"\quad p_n=\mu\bar\Gamma_n^{grad}+(1-\mu)\bar\Gamma_n^{data}",
            {
                "mu": Option(0.5, "share of the movement, the rest is the data's, mu", least=0.0, greatest=1.0),
                "clip": Option(0.0, "greatest weight, in shares of 1/C; 0 is no bound", least=0.0, greatest=1000.0),
                "probe": Option(64, "samples on which the model of the others is tried", least=1, greatest=100_000),
            },
        ),
    },
}

METHODS: dict[str, Method] = {
    "flood": Method(
        title="FLood",
        paper="arXiv:2602.01039",
        year=2026,
        idea="Weigh twice: strange samples more inside a client, clients with strange data less at the server.",
        formula=r"E_i=-\log\sum_ce^{z_c(x_i)},\quad F_k=\operatorname{mean}_i\,w_i\,\mathrm{CE}_i,\;"
        r" w_i\propto1+\beta\,\sigma(\kappa\bar E_i);\quad p_k\propto n_k\,e^{(c_k-\bar c)/(\tau\,\mathrm{std}\,c)},\;"
        r" c_k=-\operatorname{mean}_iE_i",
        provenance="reconstruction",
        note="Only the two directions are the authors'. The server's weighting starves clients with rare classes;"
        " weighting=samples switches it off.",
        choices=(
            "the detector: energy, or the largest softmax (msp)",
            "soft weights with beta = kappa = 1, or a hard tail above the quantile 0.75",
            "scores from the received model, 3 rounds of warm-up without weights",
            "clients by standardised mean confidence, tau = 2",
        ),
        cost="r_k (d_in + d_out) floats up and down, one more float up; one forward pass over the local data a round",
        objective="pseudo-out",
        weighting="confidence",
    ),
    "co-pfl": Method(
        title="CO-PFL",
        paper="arXiv:2510.20219",
        year=2025,
        idea="Count a client by what it contributes, let it keep the slots that its data changes most, and train the two apart.",
        formula=r"p_n=\tfrac12\bar\Gamma_n^{grad}+\tfrac12\bar\Gamma_n^{data},\quad"
        r" \Gamma_n^{grad}=1-\cos(\delta_n,\delta_{-n}),\;\Gamma_n^{data}=\mathrm{CE}_n(w_t+\delta_{-n});"
        r"\qquad x_i\leftarrow\sum_{n\in U_i}p_nx_{n,i}\Big/\sum_{n\in U_i}p_n",
        provenance="reconstruction",
        note="Made for a client's own accuracy; the global model is the part that clients share. A client with wrong labels looks"
        " like the greatest contributor: clip=1.5 bounds its weight.",
        choices=(
            "Gamma^data is measured on 64 of the client's own samples, which no other client has seen",
            "both parts normalised to sum 1, mu = 0.5, no bound",
            "movements in product space, the head left out of the cosine",
            "personal are rank-one slots, chosen by FedSelect's rule: a quarter, rounded up, every 3 rounds, 80 % at most",
            "half of the steps for the personal part, half for the shared one",
            "the personal moments are kept, the shared ones reset each round",
            "the model of the others counts as one more download for each client",
        ),
        cost="r_shared (d_in + d_out) floats and r_k bits up, twice the floats down; one extra pass over 64 samples;"
        " personal slots and two moments kept by the client",
        sharing="personal-slots",
        correction="split-moments",
        weighting="contribution",
        aggregate="owners-mean",
    ),
}
