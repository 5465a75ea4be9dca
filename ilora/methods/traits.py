"""Traits: the facts about an ingredient that others go by.

From them follows what it goes with (`compatibility`) and what the table of methods says of it (`properties`). So they stand
where the ingredient is declared, and an ingredient of your own counts as one of the package's as soon as it declares them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class While:
    """A trait that depends on an option of the same ingredient."""

    option: str
    test: Callable[[Any], bool]  # the option's value -> whether the ingredient has the trait
    otherwise: str  # a setting under which it has not

    def __call__(self, options: Mapping[str, Any]) -> bool:
        """Whether the ingredient has the trait under these options, one value for each that it declares."""
        return self.test(options[self.option])


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What is known of an ingredient. The stages that a trait is for stand before the colon.

    None is "not declared", which is neither yes nor no: it is what the table of methods says where it would need to know.
    """

    # How it runs
    per_client: bool = False  # initialise: draws its own numbers for every client and round
    whole: bool = False  # sharing: every client holds all of the server's slots; its rank is how many it may train and send
    personalised: bool = False  # sharing: parts stay with the clients for good, so there is no global model
    skew: str = ""  # sharing: the skew without which it has nothing to do; option negative_control runs it all the same
    needs_classes: bool = False  # any: works on class probabilities, so not where a task's labels are numbers
    same_steps: bool = False  # any: wants every client to take the same number of steps in a round

    # What the table of methods reads
    one_factor: bool | None = None  # sharing: one of A and B is left alone in a round, or never leaves the client
    factor_is_common: bool | None = None  # sharing: a factor that is not sent is the same for every client
    prunes: bool | None = None  # upload: a client drops slots and goes on with a smaller rank
    keeps_products: bool | None = None  # upload: the slots that arrive have the product B A that the client trained
    by_samples: bool | None = None  # weighting: a client counts as much as it has samples
    sends_twice: bool | None = None  # correction, weighting: needs something as large as the factors beside them, each way
    exact: str | None = None  # aggregate: is it the ideal update? "yes", "no", COMMON_FACTOR_ONLY, or up to what
    pads: bool | None = None  # aggregate: averages factors that are filled with zeros up to the largest rank
    merges: str | None = None  # aggregate: what goes into everyone's base for good, "everything" or "the residual"; "" nothing
    download: str | None = None  # sharing, merging aggregate: floats that come down for each layer and client
    takes_aggregate: bool | None = None  # server: the aggregate becomes the server's model as it is

    # What it does to others
    cuts_out: bool = False  # initialise: the product that the factors start with is cut out of the base
    keeps_b: bool = False  # sharing: B never leaves the client
    personal_slots: bool = False  # sharing: some slots become a client's own and stay with it
    private_branch: bool = False  # sharing: a second branch of the adapter stays with the client
    server_trains: bool = False  # sharing: the server trains, the clients do not
    trains_scales: bool = False  # sharing: a scale for each slot is trained and sent
    runs_part: bool = False  # sharing: a client's model holds a random part of the slots only
    sends_all: bool = False  # sharing: all that was trained is sent
    sends_gradients: bool = False  # correction: gradients leave the client, those of parts that stay with it included
    keeps_slots: bool = True  # upload, aggregate: slot j is still slot j after it; False: turned or factorised anew
    drops_scales: bool = False  # upload: slots are sent without the scale that they were trained with
    restores_base: bool | While | None = None  # aggregate: what was cut out of the base goes back; None: if no slot is kept
    counts_senders: bool = False  # aggregate: a slot is averaged over the clients that send it, so that a part may stay at home
    needs_start: bool = False  # aggregate: works on changes since the broadcast, which an upload alone does not show
    leaves_private_branch: bool = False  # any but sharing: neither moves nor gives away slots that stay with the client

    # What it needs of others
    needs_products: bool = False  # weighting, aggregate: forms the products B A of what was sent
    needs_client_training: bool = False  # objective, correction, server: goes by the steps that each client takes
    needs_private_branch: bool = False  # objective: trains a shared and a private branch in turn
    two_phases: bool = False  # correction: the second half of a client's steps starts from another model
    pulls_back: bool = False  # objective: prices the distance to the received model
    prices_tail: bool = False  # objective: prices a client's last slots
    runs_earlier_model: bool | While = False  # objective: runs the factors of an earlier round again
    remembers_slots: bool | While = False  # objective, correction, server: keeps numbers slot by slot from round to round
    steps_slots: bool = False  # server: steps along the change of each of its own slots


COMMON_FACTOR_ONLY = "where one factor is common"  # a mean of factors: exact if all clients have A, or B, in common


def holds(trait: bool | While | None, options: Mapping[str, Any]) -> bool:
    """Whether a trait is declared and, where it depends on an option, there under these options."""
    return trait(options) if isinstance(trait, While) else bool(trait)
