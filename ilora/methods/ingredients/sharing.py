"""Stage 2, sharing: what is trained, what is sent, what stays with a client?"""

from ilora.methods.ingredient import Ingredient, Option

INGREDIENTS: dict[str, Ingredient] = {
    "both": Ingredient("A and B", "Both factors are trained and sent.", "ilora.stages.sharing:both", r"\{A_k,B_k\}"),
    "b-only": Ingredient(
        "B only",
        "A is random, common and frozen for good; only B is trained and sent, at half the cost.",
        "ilora.stages.sharing:b_only",
        r"\{B_k\},\quad A_k=A_{1:r_k,:}\ \text{frozen}",
    ),
    "head-only": Ingredient(
        "The head alone",
        "No adapter is trained, only the head on the frozen backbone: what is left without LoRA.",
        "ilora.stages.sharing:head_only",
        r"\{h_k\},\quad\Delta W_k=0",
    ),
    "alternate": Ingredient(
        "B and A in turn",
        "Odd rounds train and send B, even rounds A; the other factor is common then, so the mean is exact.",
        "ilora.stages.sharing:alternate",
        r"\{B_k\}\ (t\ \text{odd}),\quad\{A_k\}\ (t\ \text{even})",
    ),
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
    "personal-slots": Ingredient(
        "Personal slots",
        "Every third round a client keeps those of its shared slots that changed most; from then on they stay with it.",
        "ilora.stages.personal_slots:PersonalSlots",
        r"i\in\mathrm{top}_{p}\,\Big|\,\|b_i\|\|a_i\|-\|b_i^{old}\|\|a_i^{old}\|\,\Big|\;\text{becomes personal}",
        {
            "fraction": Option(0.25, "share of the shared slots that become personal at once, p", least=0.0, greatest=1.0),
            "limit": Option(0.8, "share of a client's slots that may be personal", least=0.0, greatest=1.0),
            "refresh": Option(3, "let more slots become personal every so many rounds", least=1, greatest=1000),
        },
    ),
    "rewards": Ingredient(
        "Reward heads",
        "A client sends one reward head of its own rank, once; the server trains the policy on the clients' fused rewards.",
        "ilora.stages.reward_mixture:MixtureOfRewards",
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
    "members": Ingredient(
        "N members",
        "Every client trains N adapters, each with a head, on the same batches; member i is merged only with member i.",
        "ilora.stages.sharing:members",
        r"\{A_k^{(i)},B_k^{(i)},h_k^{(i)}\}_{i=1}^N,\quad\bar p=\tfrac1N\sum_i\mathrm{softmax}(z^{(i)})",
        {"members": Option(4, "members of the ensemble, N", least=1, greatest=32)},
    ),
    "branches": Ingredient(
        "A private branch",
        "A client shares its first slots and keeps the last ones; each branch runs on its own through one head.",
        "ilora.stages.branches:Branches",
        r"\Delta W_k^{g}=B_{:,1:r_k-q_k}A_{1:r_k-q_k,:},\quad\Delta W_k^{p}=B_{:,r_k-q_k+1:r_k}A_{r_k-q_k+1:r_k,:}",
        {
            "private_rank": Option(2, "slots that stay with a client, q; at most half of its own", least=0, greatest=64),
            "negative_control": Option(
                False, "run it without attribute skew, where there is no style to set apart, to see that", (True, False)
            ),
        },
        skew="attribute",
    ),
}
