"""The model's netlink door under fire: whatever is sent, no exception escapes, and what is refused changes nothing."""
