"""Federated LoRA in which clients differ in more than their rank: they prune, choose, scale or keep slots of their own."""

from ilora.ingredients import Ingredient, Option
from ilora.method import Method

_GAMMA = Option(0.99, "share of its slots that a client keeps when it prunes, gamma", least=0.01, greatest=1.0)
_LEAST_RANK = Option(4, "rank below which no client is pruned, r_min", least=1, greatest=1024)

INGREDIENTS: dict[str, dict[str, Ingredient]] = {
    "sharing": {
        "a-only": Ingredient(
            "A only",
            "Both factors are trained, A alone is sent; B and the head stay with the client for good.",
            "ilora.stages.sharing:KeepB",
            r"\{A_k\},\quad B_k,h_k\ \text{private}",
            personalised=True,
        ),
        "diagonal": Ingredient(
            "B and a diagonal",
            "A is common and frozen; B and a scale for each slot are trained and sent.",
            "ilora.stages.sharing:Diagonal",
            r"\{B_k,\Lambda_k\},\quad\Delta W_k=B_k\,\mathrm{diag}(\lambda_k)\,A",
        ),
        "top-slots": Ingredient(
            "Important slots",
            "Everyone holds all slots; a client trains and sends the r_k of each layer that matter most to it.",
            "ilora.stages.sharing:TopSlots",
            r"I_{k,i}\leftarrow\beta I_{k,i}+(1-\beta)\sum_{w\in(a_i,b_i)}|w\,\nabla_wF_k|,\quad\text{the }r_k\text{ largest}",
            {"smoothing": Option(0.85, "how much of a slot's importance is remembered, beta", least=0.0, greatest=0.999)},
            whole=True,
        ),
        "alternate-top": Ingredient(
            "B and A in turn, chosen slots",
            "Odd rounds train B, even rounds A, in those slots of all layers that would move the model most.",
            "ilora.stages.sharing:alternate_top",
            r"\{b_i\}\ (t\ \text{odd}),\;\{a_i\}\ (t\ \text{even}):\quad\text{the }Lr_k\text{ largest }\|\Delta b_i\|\|a_i\|",
            whole=True,
        ),
        "sketch": Ingredient(
            "Random sketch",
            "Everyone holds all slots; a client trains and sends a random choice of r_k, scaled so that their mean is the whole.",
            "ilora.stages.sharing:sketch",
            r"W_0+s\,B\,S_kA,\quad S_k=\tfrac{R}{r_k}\,\mathrm{diag}(\mathbb 1_{i\in\mathcal I_k}),\quad\mathbb E[S_k]=I",
            whole=True,
        ),
    },
    "objective": {
        "tail-penalty": Ingredient(
            "Tail penalty",
            "Cross-entropy, and a price on the last slots, so that clients that do not need them let them shrink.",
            "ilora.stages.objectives:tail_penalty",
            r"F_k+\lambda\sum_\ell\|B_{:,t:}\|_F\,\|A_{t:,:}\|_F,\quad t=\lfloor\gamma r_k\rfloor",
            {
                "gamma": _GAMMA,
                "tail_weight": Option(0.01, "how dear the tail is, lambda", least=0.0, greatest=10.0),
                "least_rank": _LEAST_RANK,
            },
        ),
    },
    "upload": {
        "prune-tail": Ingredient(
            "Prune a shrinking tail",
            "A client whose last slots shrank in training drops them and goes on with a smaller rank.",
            "ilora.stages.uploads:prune_tail",
            r"\|B_{:,t:}\|\|A_{t:,:}\|\ \text{shrank}\;\Rightarrow\;r_k\leftarrow\max(r_{min},\lfloor\gamma r_k\rfloor)",
            {"gamma": _GAMMA, "least_rank": _LEAST_RANK},
        ),
        "prune-weak": Ingredient(
            "Prune weak slots",
            "A client drops its last slots while they are weak in every layer.",
            "ilora.stages.uploads:prune_weak",
            r"|\lambda_i|\,\|b_i\|\,\|a_i\|<\tau\max_j|\lambda_j|\,\|b_j\|\,\|a_j\|",
            {"threshold": Option(0.1, "share of the strongest slot below which a slot is weak, tau", least=0.0, greatest=1.0)},
        ),
        "without-scales": Ingredient(
            "Without scales",
            "Slots are sent as they are, not as a sketch scaled them.",
            "ilora.stages.uploads:without_scales",
            r"(A_k,B_k)\ \text{instead of}\ (A_k,B_kS_k)",
        ),
        "quantise": Ingredient(
            "Quantise",
            "A client sends what it changed in 8, 4 or 2 bits a number, each row of A and column of B with its own step.",
            "ilora.stages.uploads:Quantise",
            r"x\approx\Delta\,\mathrm{round}(x/\Delta),\quad\Delta=\max|x|/(2^{b-1}-1)",
            {"bits": Option(8, "bits of a number on its way up", (8, 4, 2))},
        ),
    },
    "weighting": {
        "rank-aware": Ingredient(
            "Samples and rank",
            "A client counts as much as it has samples and slots.",
            "ilora.stages.weighting:rank_aware",
            r"p_k=n_kr_k/\sum_{j\in S}n_jr_j",
        ),
    },
    "aggregate": {
        "mean-of-changes": Ingredient(
            "Mean of changes",
            "What the clients changed in the slots that they sent is averaged and added to the server's factors.",
            "ilora.stages.aggregate:mean_of_changes",
            r"A\leftarrow A+\sum_kp_k\,M_k(A_k'-A_k),\quad B\ \text{alike}",
        ),
    },
    "server": {
        "adamw": Ingredient(
            "AdamW",
            "The change of the factors is a direction, along which the server takes an AdamW step.",
            "ilora.stages.server:AdamW",
            r"m\leftarrow.9m+.1\Delta,\;v\leftarrow.999v+.001\Delta^2,\;x\leftarrow x+\eta\,\hat m/(\sqrt{\hat v}+\epsilon)",
            {
                "server_lr": Option(0.01, "the server's learning rate, eta", least=0.0, greatest=10.0),
                "epsilon": Option(1e-8, "keeps small changes small", least=1e-12, greatest=1.0),
            },
        ),
    },
}

METHODS: dict[str, Method] = {
    "hetlora": Method(
        title="HetLoRA",
        paper="arXiv:2401.06432",
        authors="Cho et al.",
        year=2024,
        idea="Average padded factors by the size of the updates, and let clients drop the last slots that they do not need.",
        formula=r"F_k+\lambda\sum_\ell\|B_{:,t:}\|\|A_{t:,:}\|;\qquad p_k=\|\Delta W_k\|_F/\sum_j\|\Delta W_j\|_F,\;"
        r"A=\sum_kp_k\,\mathrm{pad}(A_k),\;B=\sum_kp_k\,\mathrm{pad}(B_k)",
        provenance="secondary",
        note="Inexact, as every mean of factors is; weights by update size are measured against the ideal of sample weights.",
        choices=(
            "gamma = 0.99, lambda = 0.01, r_min = 4, as in a port of the paper",
            "no penalty on a client whose rank may shrink no further",
        ),
        cost="r_k (d_in + d_out) floats up and down, r_k falling",
        objective="tail-penalty",
        upload="prune-tail",
        weighting="update-norm",
    ),
    "fedsa-lora": Method(
        title="FedSA-LoRA",
        paper="arXiv:2410.01463",
        authors="Guo et al.",
        year=2025,
        idea="A learns what is common, B what is a client's own: share A alone.",
        formula=r"A=\sum_kp_k\,\mathrm{pad}(A_k),\quad B_k,\,h_k\ \text{stay with the client}",
        provenance="code",
        note="Personalised: there is no global model. Its accuracy is the weighted mean of the round's clients, each with its own"
        " trained model on the common test set, and there is no aggregation error. Not to be read on one axis with the others.",
        choices=("mixed ranks by nested A",),
        cost="r_k d_in floats up and down, no head; B and the head are kept by the client",
        sharing="a-only",
    ),
    "aflora": Method(
        title="AFLoRA",
        paper="arXiv:2505.24773",
        authors="Zhou et al.",
        year=2025,
        idea="Give every slot a learnable scale over a common A; weak slots are dropped, larger ranks count for more.",
        formula=r"\Delta W_k=B_k\,\mathrm{diag}(\lambda_k)\,A,\quad B\Lambda=\sum_kp_k\,\mathrm{pad}(B_k\Lambda_k),"
        r"\quad p_k\propto n_kr_k",
        provenance="reconstruction",
        note="Exact for its own weights, because A is common; they are not the sample weights of the ideal update.",
        choices=(
            "p_k proportional to n_k r_k",
            "A stays random: the paper's server refines it on a public set, which there is none of here",
            "a slot's strength is |lambda_i| ||b_i|| ||a_i||, since lambda alone depends on how B is scaled",
            "slots are dropped from the last one on, so that ranks stay nested",
        ),
        cost="r_k (d_out + 1) floats up and down, r_k falling; a diagonal at the server",
        sharing="diagonal",
        upload="prune-weak",
        weighting="rank-aware",
    ),
    "haflq": Method(
        title="HAFLQ",
        paper="arXiv:2411.06581",
        authors="Su et al.",
        year=2024,
        idea="A client trains its most important slots only, sends them in few bits, and each slot is averaged over its senders.",
        formula=r"I_{k,i}=\mathrm{EMA}\sum|w\,\nabla_wF_k|;\qquad x_i=\sum_{k\in U_i}n_kQ(x_{k,i})\Big/\sum_{k\in U_i}n_k",
        provenance="reconstruction",
        note="The variant that freezes the other slots. The quantised backbone is left out: it changes every method alike.",
        choices=(
            "r_k slots in each layer",
            "smoothing 0.85; while B is zero nothing can be told apart, and the first slots are taken",
            "8 bits for everyone, for the change of a slot, with one float32 step for each row of A and column of B",
        ),
        cost="r_k (d_in + d_out) numbers up in 8, 4 or 2 bits, R (d_in + d_out) floats down; one extra pass over the local data",
        sharing="top-slots",
        upload="quantise",
        aggregate="owners-mean",
    ),
    "lora-a2": Method(
        title="LoRA-A2",
        paper="arXiv:2410.22815",
        authors="Koo, Jang, Ok",
        year=2025,
        idea="Train B and A in turn, and in every round only the slots, over all layers, that would move the model most.",
        formula=r"t\ \text{odd: }b_i\leftarrow b_i+\sum_kp_k\Delta b_{k,i};"
        r"\quad t\ \text{even: }a_i\leftarrow a_i+\sum_kp_k\Delta a_{k,i};\qquad i\in\mathrm{top}_{Lr_k}\|\Delta b_i\|\|a_i\|",
        provenance="reconstruction",
        note="Exact: the other factor is common, and a slot that a client leaves alone counts as unchanged.",
        choices=(
            "importance from one gradient step over the client's samples",
            "a budget of r_k slots per layer on average, spent over all layers",
        ),
        cost="on average r_k d_out or r_k d_in floats up, R d_out or R d_in down; one extra pass over the local data",
        sharing="alternate-top",
        aggregate="mean-of-changes",
    ),
    "fslora": Method(
        title="FSLoRA",
        paper="arXiv:2501.19389",
        authors="Fang et al.",
        year=2025,
        idea="Everyone works on the same large adapter through a random sketch of as many slots as it can afford.",
        formula=r"W_0+s\,B\,S_kA,\quad\mathbb E[S_k]=I;\qquad x\leftarrow\mathrm{AdamW}\Big(x,\,-\sum_kp_kM_k(x_k-x)\Big)",
        provenance="code",
        note="Follows the formulas: in the released code the mask looks inactive. Averaging is over all clients, not over the"
        " owners of a slot.",
        choices=(
            "a new sketch for every layer, client and round",
            "server learning rate 0.01; the authors take 3e-4 over 500 rounds",
            "sample weights; the head is averaged",
        ),
        cost="r_k (d_in + d_out) floats up and down; two moments of R slots at the server",
        sharing="sketch",
        upload="without-scales",
        aggregate="mean-of-changes",
        server="adamw",
    ),
}
