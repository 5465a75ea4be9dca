"""Stage 7, aggregate: how do many updates become one, and what does a client of rank r get back?"""

from ilora.methods.ingredient import Ingredient, Option

_DELTAS = Option(
    True,
    "aggregate what was learned, s B A minus the initial product, and go on from the backbone itself (True);"
    " or aggregate B A with the initial product in it, and leave it cut out of every client's base for good (False)",
    values=(True, False),
)
_STACK = r"\Delta W=\begin{bmatrix}B_1&\cdots&B_K\end{bmatrix}\begin{bmatrix}p_1A_1\\ \vdots\\ p_KA_K\end{bmatrix}"

INGREDIENTS: dict[str, Ingredient] = {
    "mean": Ingredient(
        "Mean of padded factors",
        "A and B are padded with zeros to the largest rank and averaged each for itself.",
        "ilora.stages.aggregate:mean",
        r"A=\sum_kp_k\,\mathrm{pad}(A_k),\quad B=\sum_kp_k\,\mathrm{pad}(B_k)",
    ),
    "stack": Ingredient(
        "Stack and merge",
        "The factors are stacked, sent to all, and merged into everyone's base: nothing is lost, and everyone starts anew.",
        "ilora.stages.aggregate:stack",
        _STACK + r",\quad W\leftarrow W+s\,\Delta W",
        keeps_slots=False,
    ),
    "svd": Ingredient(
        "Sum and SVD",
        "The updates are summed exactly; every client gets the best approximation that its rank can hold.",
        "ilora.stages.aggregate:truncated_svd",
        r"\sum_kp_ks_kB_kA_k=U\Sigma V^\top,\quad B=\tfrac1sU_{:,1:r}\Sigma_{1:r},\quad A=V_{:,1:r}^\top",
        {
            "deltas": _DELTAS,
            "split": Option("B", "which factor carries the singular values: B (FlexLoRA) or A (HLoRA)", ("B", "A")),
        },
        keeps_slots=False,
    ),
    "concat-qr": Ingredient(
        "Concatenated QR",
        "The factors are stacked and their sum is split by a QR without pivoting; rank r gets the first r columns and rows.",
        "ilora.stages.aggregate:concatenated_qr",
        _STACK + r"=QR,\quad B=Q_{:,1:r},\quad A=R_{1:r,:}",
        {"deltas": _DELTAS},
        keeps_slots=False,
    ),
    "concat-pivoted-qr": Ingredient(
        "Concatenated QR, pivoted",
        "As concatenated QR, but the columns that carry most are taken first.",
        "ilora.stages.aggregate:concatenated_pivoted_qr",
        _STACK + r"=QR\,\Pi^\top,\quad B=Q_{:,1:r},\quad A=(R\,\Pi^\top)_{1:r,:}",
        {"deltas": _DELTAS},
        keeps_slots=False,
    ),
    "owners-mean": Ingredient(
        "Mean over the owners of a slot",
        "A slot is averaged over the clients that have it, so nobody dilutes what he does not hold.",
        "ilora.stages.aggregate:owners_mean",
        r"A_{j,:}=\frac{\sum_{k:\,r_k\ge j}p_kA_{k,j}}{\sum_{k:\,r_k\ge j}p_k},\quad B_{:,j}\ \text{alike}",
    ),
    "corrected-mean": Ingredient(
        "Mean, with B corrected",
        "A and B are averaged, then B is moved so that its product with A comes as near to the exact sum as it can.",
        "ilora.stages.aggregate:corrected_mean",
        r"\Delta B=(\Delta W-BA)A^\top(AA^\top+\lambda I)^{-1}",
        {
            "form": Option(
                "closed", "least squares in closed form, or 200 gradient steps on the cosine", ("closed", "iterative")
            ),
            "penalty": Option(0.01, "how dear a correction is, lambda", least=0.0, greatest=10.0),
        },
    ),
    "mean-and-residual": Ingredient(
        "Mean, the rest into the base",
        "A and B are averaged; what their product misses goes into everyone's base.",
        "ilora.stages.aggregate:mean_and_residual",
        r"W\leftarrow W+s\Big(\sum_kp_kB_kA_k-BA\Big)",
    ),
    "rank-partitions": Ingredient(
        "Rank partitions and SVD",
        "Each band of slots is averaged over the clients that have all of it; the sum is split by an SVD.",
        "ilora.stages.aggregate:rank_partitions",
        r"\Delta W=\sum_h\sum_{k\in C_h}\tfrac{n_k}{N_h}B_k^{(h)}A_k^{(h)}=U\Sigma V^\top",
        {"split": Option("B", "where the singular values go: on B, or their root on both (raFLoRA's source)", ("B", "both"))},
        keeps_slots=False,
    ),
    "full-rank-deltas": Ingredient(
        "Full-rank server",
        "The server keeps the whole update and adds what the clients changed; only what it hands out is cut.",
        "ilora.stages.aggregate:full_rank_deltas",
        r"W^{t+1}=W^t+\sum_kp_ks_k(B_kA_k-B_k^0A_k^0)",
        keeps_slots=False,
    ),
    "thresholded-stack": Ingredient(
        "Stack, thresholded SVD",
        "The stack is cut where a share of its energy is kept, sent to all, and merged into everyone's base.",
        "ilora.stages.aggregate:thresholded_stack",
        r"\sum_{i\le p}\sigma_i^2\ge\tau\sum_i\sigma_i^2,\quad W\leftarrow W+U_{:,1:p}\Sigma_{1:p}V_{:,1:p}^\top",
        {"energy": Option(0.99, "share of the energy that is kept, tau", least=0.01, greatest=1.0)},
        keeps_slots=False,
    ),
    "mean-of-changes": Ingredient(
        "Mean of changes",
        "What the clients changed in the slots that they sent is averaged and added to the server's factors.",
        "ilora.stages.aggregate:mean_of_changes",
        r"A\leftarrow A+\sum_kp_k\,M_k(A_k'-A_k),\quad B\ \text{alike}",
    ),
}
