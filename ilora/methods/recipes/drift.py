"""Client drift: what clients minimise, how they are corrected, and what the server does with it.

The classics stand on averaging A and B as FedIT does, so with equal ranks they are the textbook methods.
"""

from ilora.methods.method import Method

METHODS: dict[str, Method] = {
    "fedprox": Method(
        title="FedProx",
        paper="arXiv:1812.06127",
        authors="Li et al.",
        year=2020,
        idea="A proximal term penalises each client's distance from the model that it received.",
        formula=r"\min_\theta F_k(\theta)+\tfrac{\mu}{2}\|\theta-\theta_t\|^2",
        provenance="secondary",
        source="third-party code: alpemreacar/FedDyn@48a19fa:utils_general.py:train_fedprox_mdl",
        note="The standard formula; mu has no default in the paper and needs tuning. With mu = 0 it is FedIT.",
        choices=("mu = 0.01", "distance between updates s B A, head by its numbers; space=factor is the literal form"),
        cost="r_k (d_in + d_out) floats up and down",
        objective="proximal",
    ),
    "feddyn": Method(
        title="FedDyn",
        paper="arXiv:2111.04263",
        authors="Acar et al.",
        year=2021,
        idea="A remembered dual vector tilts each local loss, so that local optima come to agree with the global one.",
        formula=r"\min_\theta F_k(\theta)-\langle g_k,\theta\rangle+\tfrac{\gamma_k}{2}\|\theta-\theta_t\|^2,\quad"
        r" g_k\leftarrow g_k-\gamma_k(\theta_k-\theta_t),\quad"
        r" \theta_{t+1}=\tfrac1{|S|}\sum_{k\in S}\theta_k+\tfrac1N\sum_{k=1}^N u_k,\quad u_k=-g_k/\gamma_k",
        provenance="reconstruction",
        source="alpemreacar/FedDyn@48a19fa:utils_methods.py:train_FedDyn",
        note="Only space=factor is the authors' code, on the numbers of A and B. The default works on the updates s B A, which"
        " is our form: duals are stacks of at most 2R slots. Made for SGD; with AdamW it is a variant.",
        choices=("duals on the updates s B A, cut to 2R slots", "no weight decay, no gradient clipping"),
        cost="r_k (d_in + d_out) floats up and down; one dual per client kept between rounds",
        objective="dual",
        weighting="uniform",
        server="dual-shift",
        options={"gamma": 0.01, "a": 1.0, "d": 1.0},
    ),
    "fedvra": Method(
        title="FedVRA",
        paper="arXiv:2212.01519",
        authors="Wang et al.",
        year=2023,
        idea="Federated ADMM as variance reduction: the step sizes of the duals, a, and of the server, d, are chosen separately.",
        formula=r"\min_\theta F_k(\theta)+\langle\lambda_k,\theta\rangle+\tfrac{\gamma}{2}\|\theta-\theta_t\|^2,\quad"
        r" \lambda_k\leftarrow\lambda_k+a\gamma(\theta_k-\theta_t),\quad"
        r" \theta_{t+1}=\theta_t+\tfrac{d}{|S|}\sum_{k\in S}(\theta_k-\theta_t)+\tfrac1{\gamma N}\sum_{k=1}^N\lambda_k",
        provenance="reconstruction",
        source="paper only",
        note="(a, d) = (1, 1) is FedDyn, (0, 1) FedProx with equal weights, and with gamma = 0 as well FedAvg.",
        choices=(
            "the line of the server with d",
            "a = 0.5, d = 1, gamma = 0.1",
            "penalty by a client's relative amount of data and uniform weights, as in FedDyn's code",
            "duals on the updates s B A, cut to 2R slots",
        ),
        cost="r_k (d_in + d_out) floats up and down; one dual per client kept between rounds",
        objective="dual",
        weighting="uniform",
        server="dual-shift",
        options={"gamma": 0.1, "a": 0.5, "d": 1.0},
    ),
    "scaffold": Method(
        title="SCAFFOLD",
        paper="arXiv:1910.06378",
        authors="Karimireddy et al.",
        year=2020,
        idea="Each client subtracts its own mean gradient from every step and adds the global one.",
        formula=r"g\leftarrow\nabla F_k-c_k+c,\quad c_k^{+}=c_k-c+\tfrac{\theta_t-\theta_k}{K\eta},\quad"
        r" c\leftarrow c+\tfrac1N\sum_{k\in S}(c_k^{+}-c_k),\quad"
        r"\theta_{t+1}=\theta_t+\tfrac1{|S|}\sum_{k\in S}(\theta_k-\theta_t)",
        provenance="secondary",
        source="third-party code: alpemreacar/FedDyn@48a19fa:utils_methods.py:train_SCAFFOLD",
        note="Option II on the numbers of A and B, made for optimizer=sgd. A client's movement over K eta is the mean of its"
        " gradients only under plain SGD; here that mean itself is taken, so that it holds under momentum and AdamW too.",
        choices=(
            "the code we read is a port, which scales c by n_k and clips gradients; ours does neither",
            "c_k from the gradients instead of the movement: the same under plain SGD",
            "mixed ranks: c is cut to a client's slots, changes are padded",
        ),
        cost="2 r_k (d_in + d_out) floats up and down; one control variate per client kept between rounds",
        correction="scaffold",
        weighting="uniform",
        aggregate="mean-of-changes",
    ),
    "fedadam": Method(
        title="FedAdam",
        paper="arXiv:2003.00295",
        authors="Reddi et al.",
        year=2021,
        idea="The server treats the averaged change as a gradient and takes a step of Adam with it.",
        formula=r"\Delta=\sum_kp_k(\theta_k-\theta_t),\quad m\leftarrow\beta_1m+(1-\beta_1)\Delta,\quad"
        r" v\leftarrow\beta_2v+(1-\beta_2)\Delta^2,\quad \theta_{t+1}=\theta_t+\eta\frac{m}{\sqrt v+\tau}",
        provenance="secondary",
        source="third-party code: adap/flower@50a719a:src/py/flwr/server/strategy/fedadam.py:FedAdam",
        note="The standard formula without bias correction, on the numbers of A and B at fixed coordinates.",
        choices=("mixed ranks: changes are padded with zeros", "eta = 0.01; Flower's 0.1 is too large for factors of this size"),
        cost="r_k (d_in + d_out) floats up and down; two moments at the server",
        aggregate="mean-of-changes",
        server="adam",
    ),
    "fedadamw": Method(
        title="FedAdamW",
        paper="arXiv:2510.27486",
        authors="Liu et al.",
        year=2026,
        idea="Local AdamW starts from the clients' mean second moment and mixes the last global direction into every step.",
        formula=r"\theta\leftarrow\mathrm{AdamW}_{(1-\gamma)\eta}(\theta;\,m=0,\,v=\bar v)+\tfrac{\gamma}{K}\Delta_G,\quad"
        r" \Delta_G=\tfrac1{|S|}\sum_{k\in S}(\theta_k-\theta_t),\quad \bar v=\operatorname{mean}_k\operatorname{mean}(v_k)",
        provenance="code",
        source="junkangLiu0/FedAdamW@618fc7f:new_llm.py",
        note="The form of the authors' language-model script: one mean of v for each tensor, one step counter for all rounds."
        " It trains with AdamW whatever optimizer is chosen.",
        choices=("no weight decay, no gradient clipping", "mixed ranks: v over the slots that a client has, changes padded"),
        cost="r_k (d_in + d_out) floats up, twice that down, and one float for each tensor",
        correction="global-direction",
        weighting="uniform",
        aggregate="mean-of-changes",
    ),
    "moon": Method(
        title="MOON",
        paper="arXiv:2103.16257",
        authors="Li, He, Song",
        year=2021,
        idea="A contrastive loss moves a client's features towards the global model's and away from its own last model's.",
        formula=r"F_k-\mu\log\frac{e^{\cos(z,z_{glob})/T}}{e^{\cos(z,z_{glob})/T}+e^{\cos(z,z_{prev})/T}}",
        provenance="code",
        source="QinbinLi/MOON@8fcba3c:main.py:train_net_fedcon",
        choices=("the features that the head sees, without a projection head", "mu = 1, T = 0.5, as in the code"),
        cost="r_k (d_in + d_out) floats up and down; two more forward passes a step; one model per client kept between rounds",
        objective="contrast",
    ),
    "ri-fedavg": Method(
        title="RI-FedAvg",
        paper="arXiv:2602.10595",
        year=2026,
        idea="The rougher a client's loss landscape, the stronger its proximal term.",
        formula=r"\min_\theta F_k(\theta)+\tfrac{\lambda}{2}\rho_k\|\theta-\theta_t\|^2,\quad "
        r"\rho_k=\frac{I_k}{I_k+\tau_I},\quad"
        r" I_k=\frac{\mathrm{std}_m T_m}{\mathrm{mean}_m T_m},\;"
        r" T_m=\frac{\sum_i|f_m(t_{i+1})-f_m(t_i)|}{\max f_m-\min f_m}",
        provenance="reconstruction",
        source="paper only",
        note="The proximal part is certain, the index is our reading. Where all directions are slopes, or all bowls, the index is"
        " 0 and the client trains as in FedIT.",
        choices=(
            "index as std / mean of the total variation over 16 directions, 11 points each, on one batch",
            "each total variation over its own range: a bowl at its minimum is not rough",
            "Gaussian directions in A and B, scaled until each layer's update moves by 2 % of the frozen weight's norm",
            "measured after local training, every 2nd round, and used from a client's next round on",
            "saturated index with tau_I = 0.2, lambda = 0.1; distance between updates s B A",
        ),
        cost="r_k (d_in + d_out) floats up and down; 16 x 11 forward passes of one batch every 2nd round",
        objective="roughness",
    ),
}
