"""Stage 8, server: what does the server do with the aggregate?"""

from ilora.methods.ingredient import Ingredient, Option
from ilora.methods.ingredients.shared_options import A_STEP, REMEMBERS_SLOTS, SPACE

INGREDIENTS: dict[str, Ingredient] = {
    "take": Ingredient(
        "Take it",
        "The aggregate becomes the server's model.",
        "ilora.stages.server:take",
        r"G_{t+1}=\text{aggregate}",
        takes_aggregate=True,
        leaves_private_branch=True,
    ),
    "adamw": Ingredient(
        "AdamW",
        "The change of the factors is a direction, along which the server takes an AdamW step.",
        "ilora.stages.server:AdamW",
        r"m\leftarrow.9m+.1\Delta,\;v\leftarrow.999v+.001\Delta^2,\;x\leftarrow x+\eta\,\hat m/(\sqrt{\hat v}+\epsilon)",
        {
            "server_lr": Option(0.01, "the server's learning rate, eta", least=0.0, greatest=10.0),
            "epsilon": Option(1e-8, "keeps small changes small", least=1e-12, greatest=1.0),
        },
        takes_aggregate=False,
        steps_slots=True,
        leaves_private_branch=True,
    ),
    "adam": Ingredient(
        "Adam",
        "The averaged change is the gradient of an Adam at the server.",
        "ilora.stages.server:Adam",
        r"\theta\leftarrow\theta_t+\eta\,m/(\sqrt v+\tau)",
        {
            "server_lr": Option(0.01, "step size of the server, eta", least=0.0, greatest=10.0),
            "beta1": Option(0.9, "memory of the first moment", least=0.0, greatest=0.9999),
            "beta2": Option(0.99, "memory of the second moment", least=0.0, greatest=0.9999),
            "tau": Option(1e-3, "how far small changes count as none, tau", least=1e-9, greatest=1.0),
        },
        takes_aggregate=False,
        remembers_slots=True,
        leaves_private_branch=True,
    ),
    "dual-shift": Ingredient(
        "Step and dual shift",
        "The server steps towards the mean and adds what all clients, present or not, remember.",
        "ilora.stages.duals:DualShift",
        r"\theta\leftarrow\theta_t+d(\bar\theta-\theta_t)+\tfrac1{\gamma N}\sum_{k=1}^N\lambda_k",
        {
            "a": A_STEP,
            "d": Option(1.0, "step of the server towards the mean, d", least=0.0, greatest=2.0),
            "space": SPACE,
        },
        takes_aggregate=False,
        needs_client_training=True,
        remembers_slots=REMEMBERS_SLOTS,
    ),
}
