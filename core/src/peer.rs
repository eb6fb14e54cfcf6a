//! What members say to each other: encoding, and the checks of everything that comes from the network.
