"""Options that ingredients of two stages share, and a trait that hangs on one of them."""

from ilora.methods.ingredient import Option
from ilora.methods.traits import While

GAMMA = Option(0.99, "share of its slots that a client keeps when it prunes, gamma", least=0.01, greatest=1.0)
LEAST_RANK = Option(4, "rank below which no client is pruned, r_min", least=1, greatest=1024)
SPACE = Option(
    "product",
    "measure in the space of the updates s B A (any ranks, any server), or of the numbers in A and B: two different algorithms",
    ("product", "factor"),
)
REMEMBERS_SLOTS = While("space", lambda space: space == "factor", "space = 'product'")
A_STEP = Option(1.0, "step of the duals, a: 0 none (FedProx), 1 full (FedDyn)", least=0.0, greatest=1.0)
DETECTOR = Option("energy", "what makes a sample strange: energy of its logits, or a small largest softmax", ("energy", "msp"))
WARMUP = Option(3, "rounds before the model's opinion counts", least=0, greatest=1000)
