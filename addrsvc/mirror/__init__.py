"""The mirror: makes a namespace of the running kernel look like a namespace of the model, and tells where it cannot."""
