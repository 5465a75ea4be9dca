"""The stages of a round, one file each, in the order in which a round passes them."""
