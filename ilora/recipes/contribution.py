"""Who counts how much, and what stays personal: contributions measured at the server, slots that never leave a client."""

from ilora.ingredients import Ingredient, Option
from ilora.method import Method

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
    "correction": {
        "split-moments": Ingredient(
            "Split moments",
            "Personal and shared slots are trained one after the other, with AdamW moments of their own; the personal ones last.",
            "ilora.stages.personal:SplitMoments",
            r"(m,v)_{personal}\ \text{kept},\quad(m,v)_{shared}\leftarrow0\ \text{each round}",
            same_steps=True,
        ),
    },
    "weighting": {
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
