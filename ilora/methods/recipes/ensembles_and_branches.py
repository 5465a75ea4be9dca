"""Beyond one averaged model: several members that answer together, and a branch that never leaves its client."""

from ilora.methods.method import Method

METHODS: dict[str, Method] = {
    "lora-ensemble": Method(
        title="LoRA-Ensemble",
        paper="arXiv:2405.14438",
        authors="Mühlematter et al.",
        year=2024,
        idea="N adapters that differ only in their random start share one backbone; their disagreement measures uncertainty.",
        formula=r"h_i=Wx+B_iA_ix,\quad\bar p=\tfrac1N\sum_{i=1}^N\mathrm{softmax}(z_i),\quad"
        r" \underbrace{H[\bar p]}_{\text{total}}=\underbrace{\tfrac1N\sum_iH[p_i]}_{\text{aleatoric}}+\text{epistemic}",
        provenance="code",
        source="prs-eth/LoRA-Ensemble@be52ff5:models/lora_ensemble.py:LoRAEnsemble",
        note="The ensemble is the authors', its federation is ours: one federated run per member on the same clients and batches."
        " Accuracy, loss and calibration are those of the mean of the members' probabilities; diagnostics of the layers and an"
        " exported adapter are the first member's. With one member it is FedIT.",
        choices=(
            "members are merged by the aggregate rule of the recipe, FedIT's mean by default; averaging A and B apart leaves the"
            " same cross terms inside each member",
            "4 members; the authors take 16",
            "each member minimises its own loss; the authors' mean over members is the same under AdamW",
            "gain 1 at this project's learning rate; r is left out of Xavier's d_in + r, so that slots nest",
            "calibration error from the mean of the probabilities; the authors' code takes the mean of the logits there",
            "the task's adapted layers (query and value) instead of all four projections",
        ),
        cost="N r_k (d_in + d_out) floats up and down, N heads; N forward and backward passes",
        initialise="xavier",
        sharing="members",
    ),
    "dfl": Method(
        title="DFL",
        paper="arXiv:2206.06818",
        authors="Luo et al.",
        year=2022,
        idea="Split each adapter into a shared branch for what holds everywhere and a private one for the client's own style.",
        formula=r"z_g=f_{W+s\Delta W^g}(x),\ z_p=f_{W+s\Delta W^p}(x);\quad"
        r" P:\ \mathrm{CE}(h(z_p),y)+\lambda I(z_p;\bar z_g);\quad"
        r" G:\ \mathrm{CE}(h(z_g),y)+\lambda I(z_g;\bar z_p)+\nu\,\mathbb E_{j\ne k}\mathrm{CE}(h(z_g+v_{j,y}),y)",
        provenance="reconstruction",
        source="paper only",
        note="Needs attribute skew: under label skew alone there is no style to separate, and negative_control=True shows what"
        " remains. The server's accuracy is that of the shared branch alone; a client's own that of both its branches. The mean"
        " features v show the server what a client's classes look like.",
        choices=(
            "branches are slots of one adapter: q = 2 private, at most half of a client's rank; a client of rank 1 has none",
            "dependence by linear HSIC, normalised (linear CKA), lambda = 0.1: what is not linear escapes it",
            "transfer by adding another client's mean private feature of the class, of up to 8 others a round, nu = 0.5",
            "half of the local steps for each phase, private first, with a fresh optimizer each; the head learns in both",
            "a client's own model answers with the mean of both branches' logits",
            "v from the samples of the round's batches",
        ),
        cost="(r_k - q) (d_in + d_out) floats up and down, classes x d floats up and those of up to 8 others down;"
        " two forward passes a step and one over the round's batches; private slots kept by the client",
        sharing="branches",
        objective="disentangle",
    ),
}
