"""Every term of the field that the screen uses, in one or two plain sentences; widgets show them on hover."""

GLOSSARY = {
    "task": "The data to be learned and the frozen backbone that is adapted to it.",
    "method": "How the server and the clients work together: where factors start, what is sent, how many updates become one.",
    "mode": "ILoRA in three forms. Corrected: the paper's algorithm with its bookkeeping right. Official: the authors' code,"
    " literally. Paper: the formulas as printed.",
    "client": "One participant. It trains on its own samples, which never leave it, and sends only its adapter.",
    "rank": "How many directions a client's adapter has. A higher rank can express more, and costs more to train and send.",
    "ranks": "The rank of every client: a profile, or a list of your own.",
    "adapter": "Two thin matrices A (r × d_in) and B (d_out × r) beside a frozen layer. Only they are trained.",
    "update": "What a client has learned in a layer: ΔW = s·BA.",
    "ideal update": "The weighted average of the clients' updates: what the server would hold if it could hold everything.",
    "aggregation error": "How far the server's update is from the ideal update, as a share of the ideal update's length.",
    "truncation error": "The part of the aggregation error that comes from cutting the update to a rank.",
    "subspace alignment": "How much the clients' updates share their directions: 1 all of them, 0 none."
    " Chance is what random directions would give.",
    "client drift": "How far the clients' movements lie from their mean in a round, relative to the mean's length.",
    "rank collapse": "The server's update comes to live in the few directions that the smallest rank can hold.",
    "control variate": "A remembered gradient. It shifts each client's step towards where everyone goes.",
    "effective rank": "How many directions an update really uses: exp of the entropy of its normalised singular values.",
    "backbone": "The pretrained model. It stays frozen.",
    "data": "A folder with the task's files. Empty: data/cache, which is filled by one download.",
    "head": "The last layer, which names the class. It is trained and averaged like everyone's.",
    "skew": "How unequal the clients' data are.",
    "alpha": "Dirichlet α. Small: each client sees few classes. Large: everyone sees about the same.",
    "shards": "The samples are sorted by class and cut into pieces; each client holds this many pieces.",
    "noisy clients": "So many clients hold samples with random labels. Which ones, the seed draws.",
    "participation": "The share of clients that take part in a round, drawn anew each round.",
    "round": "Broadcast, local training, upload, aggregation: once each.",
    "local steps": "How many optimizer steps each client takes before it sends its adapter.",
    "batch size": "How many samples a client looks at in one step.",
    "optimizer": "How a client turns gradients into steps.",
    "learning rate": "How large a client's steps are.",
    "scaling": "s in ΔW = s·BA: a number, or α/r as in 16/r. With mixed ranks α/r is a different algorithm."
    " Empty: the method's own.",
    "targets": "The linear layers that carry an adapter.",
    "seed": "Where all randomness starts. Two methods with one seed see the same clients and the same batches.",
    "device": "Where it is computed.",
    "engine": "Clients trained all at once, or one after the other on stock peft: the same numbers, more slowly.",
}


def explain(term: str) -> str:
    """The explanation of a term; KeyError if the glossary lacks it."""
    return GLOSSARY[term]
