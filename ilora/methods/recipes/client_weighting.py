"""Who counts how much, and what stays personal: strange samples, contributions, slots that never leave a client."""

from ilora.methods.method import Method

METHODS: dict[str, Method] = {
    "flood": Method(
        title="FLood",
        paper="arXiv:2602.01039",
        year=2026,
        idea="Up-weight out-of-distribution samples in a client; down-weight clients with such data at the server.",
        formula=r"E_i=-\log\sum_ce^{z_c(x_i)},\quad F_k=\operatorname{mean}_i\,w_i\,\mathrm{CE}_i,\;"
        r" w_i\propto1+\beta\,\sigma(\kappa\bar E_i);\quad p_k\propto n_k\,e^{(c_k-\bar c)/(\tau\,\mathrm{std}\,c)},\;"
        r" c_k=-\operatorname{mean}_iE_i",
        provenance="reconstruction",
        source="paper only",
        note="Only the two directions are the authors'. The server's weighting gives clients with rare classes little weight;"
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
        idea="Weight a client by its contribution, let it keep the slots that its data changes most, and train both parts"
        " separately.",
        formula=r"p_n=\tfrac12\bar\Gamma_n^{grad}+\tfrac12\bar\Gamma_n^{data},\quad"
        r" \Gamma_n^{grad}=1-\cos(\delta_n,\delta_{-n}),\;\Gamma_n^{data}=\mathrm{CE}_n(w_t+\delta_{-n});"
        r"\qquad x_i\leftarrow\sum_{n\in U_i}p_nx_{n,i}\Big/\sum_{n\in U_i}p_n",
        provenance="reconstruction",
        source="paper only",
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
