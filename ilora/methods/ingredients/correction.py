"""Stage 4, correction: how is a client's gradient or step corrected?"""

from ilora.methods.ingredient import Ingredient, Option

_VARIATES = {
    "control_scale": Option(
        "scaffold",
        "c_k is the mean gradient of the client's samples ('scaffold'), or the sum of its batch gradients over its"
        " number of samples, about a batch size smaller ('official')",
        ("scaffold", "official"),
    ),
    "control_samples": Option(
        0, "how many of its samples a client takes for c_k, drawn each round; 0: all of them, as ILoRA does", least=0
    ),
}

INGREDIENTS: dict[str, Ingredient] = {
    "none": Ingredient(
        "None",
        "Clients follow their own gradient.",
        "ilora.stages.corrections:none",
        r"g\leftarrow\nabla F_k",
        sends_twice=False,
        leaves_private_branch=True,
    ),
    "control-variates": Ingredient(
        "Control variates",
        "Each client's gradient is shifted by what the server remembers of all gradients, cut to the client's rank,"
        " minus what the client remembers of its own.",
        "ilora.stages.corrections:ControlVariates",
        r"g\leftarrow\nabla F_k+(\mathrm{trunc}_{r_k}(c)-c_k),"
        r"\quad c\leftarrow c+\tfrac1N\sum_{k\in S}\mathrm{pad}(c_k^{+}-c_k)",
        _VARIATES,
        sends_twice=True,
        sends_gradients=True,
        needs_client_training=True,
    ),
    "transported-variates": Ingredient(
        "Transported control variates",
        "Control variates that are carried into each round's new slots before they correct: what was remembered at the old"
        " factors is projected onto the new ones.",
        "ilora.stages.corrections:TransportedVariates",
        r"g_A\leftarrow(B_o^{+}B_n)^\top g_A+B_n^\top(I-P_B)\,g_B(A_o^{+})^\top,"
        r"\quad g_B\leftarrow g_B(A_nA_o^{+})^\top+(B_o^{+})^\top g_A(I-P_A)A_n^\top",
        {
            **_VARIATES,
            "transport": Option(
                "tangent",
                "each factor's gradient for itself ('plain'), with what each says of the other ('tangent'), or not ('none')",
                ("tangent", "plain", "none"),
            ),
            "coverage": Option(
                "all",
                "a slot of c moves by the mean over all clients ('all'), or over those that own it ('owners')",
                ("all", "owners"),
            ),
            "gradient": Option(
                "pass",
                "c_k is taken in a pass of its own ('pass'), or is the mean gradient of the local steps ('steps')",
                ("pass", "steps"),
            ),
        },
        sends_twice=True,
        sends_gradients=True,
        needs_client_training=True,
    ),
    "global-direction": Ingredient(
        "Global direction",
        "AdamW starts from the clients' mean second moment, and every step is mixed with the last global change.",
        "ilora.stages.corrections:GlobalDirection",
        r"\theta\leftarrow\mathrm{AdamW}_{(1-\gamma)\eta}(\theta)+\tfrac\gamma K\Delta_G",
        {"mix": Option(0.5, "share of the global direction in a step, gamma", least=0.0, greatest=1.0)},
        sends_twice=True,
        remembers_slots=True,
        needs_client_training=True,
    ),
    "scaffold": Ingredient(
        "SCAFFOLD, option II",
        "As control variates, but c_k is the mean of the gradients on the client's way: no extra pass. Made for SGD.",
        "ilora.stages.corrections:Scaffold",
        r"g\leftarrow\nabla F_k-c_k+c,\quad c_k\leftarrow c_k-c+\tfrac{\theta_t-\theta_k}{K\eta}",
        sends_twice=True,
        remembers_slots=True,
        needs_client_training=True,
    ),
    "split-moments": Ingredient(
        "Split moments",
        "Personal slots are trained first, then shared ones, with AdamW moments of their own; the personal moments are kept.",
        "ilora.stages.personal_slots:SplitMoments",
        r"(m,v)_{personal}\ \text{kept},\quad(m,v)_{shared}\leftarrow0\ \text{each round}",
        same_steps=True,
        sends_twice=False,
        two_phases=True,
        needs_client_training=True,
    ),
}
